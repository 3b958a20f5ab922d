DROP VIEW "MonthlyRevenue";
