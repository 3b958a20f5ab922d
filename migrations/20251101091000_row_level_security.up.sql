-- The database keeps the tenants apart even where a query forgets its WHERE. The application says for
-- each transaction who it works for:
--
--     BEGIN; SELECT set_config('app.tenant', '<company id>', true); ... COMMIT;
--
-- An unset setting is NULL, and one left over from an earlier transaction is '': nullif makes both NULL,
-- and NULL equals no company, so there are no rows and no error. The sub-select is evaluated once
-- a query, not once a row. A policy without WITH CHECK applies USING to written rows too; it is
-- spelled out so that nobody has to know. FORCE binds the owner of the tables as well.

ALTER TABLE "Company" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Company" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "Company"
    USING (id = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK (id = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));

-- A user may own several companies, so "User" is no tenant's table: a tenant sees the owner of its company
-- and nobody else. Not forced: people sign up and log in before there is a tenant, through the owner
-- of the tables, who alone reads "passwordHash".
ALTER TABLE "User" ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_owner ON "User"
    USING (EXISTS (
        SELECT FROM "Company"
        WHERE "Company"."ownerId" = "User".id
          AND "Company".id = nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK (EXISTS (
        SELECT FROM "Company"
        WHERE "Company"."ownerId" = "User".id
          AND "Company".id = nullif(current_setting('app.tenant', true), '')::uuid));

ALTER TABLE "Product" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Product" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "Product"
    USING ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));

ALTER TABLE "Customer" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Customer" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "Customer"
    USING ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));

ALTER TABLE "Sale" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Sale" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "Sale"
    USING ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));

ALTER TABLE "AgentLog" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "AgentLog" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "AgentLog"
    USING ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));

ALTER TABLE "Subscription" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Subscription" FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON "Subscription"
    USING ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))
    WITH CHECK ("companyId" = (SELECT nullif(current_setting('app.tenant', true), '')::uuid));
