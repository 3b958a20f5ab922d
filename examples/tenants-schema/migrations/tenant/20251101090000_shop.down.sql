DROP TABLE orders, settings;
