-- Shared by all shops: what they can book. Tenants' users have no rights here.
CREATE TABLE plans (
    name   text PRIMARY KEY,
    orders int NOT NULL CHECK (orders > 0)
);
INSERT INTO plans VALUES ('small', 100), ('large', 10000);
