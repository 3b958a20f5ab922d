-- Shared by all firms, in the database of the project.
CREATE TABLE invoices (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm   text NOT NULL,
    amount numeric(12, 2) NOT NULL
);
