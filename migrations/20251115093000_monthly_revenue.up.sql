-- What the dashboard shows. security_invoker makes the policies of "Sale" apply to whoever reads the view;
-- without it a view reads with its owner's eyes and shows every tenant's revenue to all.
CREATE VIEW "MonthlyRevenue" WITH (security_invoker = true) AS
SELECT "companyId",
       date_trunc('month', "soldAt", 'UTC') AS month,
       count(*) AS sales,
       sum(total) AS revenue
FROM "Sale"
WHERE status = 'PAID'
GROUP BY "companyId", month;
