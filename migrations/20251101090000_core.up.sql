-- The seven tables of LYROX OS. A company is a tenant: every table below it carries "companyId".
--
-- Keys between tenant tables are composite, ("companyId", id): a sale cannot name another company's
-- product. Unique keys lead with "companyId": one tenant learns nothing of what another has stored.

CREATE TYPE "UserStatus" AS ENUM ('ACTIVE', 'INVITED', 'SUSPENDED');
CREATE TYPE "SaleStatus" AS ENUM ('PENDING', 'PAID', 'REFUNDED');

CREATE FUNCTION "touchUpdatedAt"() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = ''
AS $$
BEGIN
    NEW."updatedAt" = now();
    RETURN NEW;
END
$$;

CREATE TABLE "User" (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email           text NOT NULL UNIQUE,
    "passwordHash"  text NOT NULL,
    name            text,
    "emailVerified" boolean NOT NULL DEFAULT false,
    status          "UserStatus" NOT NULL DEFAULT 'ACTIVE',
    "createdAt"     timestamptz NOT NULL DEFAULT now(),
    "updatedAt"     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE "Company" (
    id                   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "ownerId"            uuid NOT NULL REFERENCES "User" (id),
    name                 text NOT NULL,
    industry             text,
    "brandPersonality"   text NOT NULL,
    active               boolean NOT NULL DEFAULT true,
    "subscriptionPlan"   text NOT NULL DEFAULT 'free',
    "subscriptionStatus" text NOT NULL DEFAULT 'active',
    "createdAt"          timestamptz NOT NULL DEFAULT now(),
    "updatedAt"          timestamptz NOT NULL DEFAULT now(),
    UNIQUE ("ownerId", name)
);

CREATE TABLE "Product" (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "companyId" uuid NOT NULL REFERENCES "Company" (id) ON DELETE CASCADE,
    sku         text NOT NULL,
    name        text NOT NULL,
    description text,
    price       numeric(12, 2) NOT NULL CHECK (price >= 0),
    active      boolean NOT NULL DEFAULT true,
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now(),
    UNIQUE ("companyId", id),
    UNIQUE ("companyId", sku)
);

CREATE TABLE "Customer" (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "companyId" uuid NOT NULL REFERENCES "Company" (id) ON DELETE CASCADE,
    email       text NOT NULL,
    name        text NOT NULL,
    phone       text,
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now(),
    UNIQUE ("companyId", id),
    UNIQUE ("companyId", email)
);

CREATE TABLE "Sale" (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "companyId"  uuid NOT NULL REFERENCES "Company" (id) ON DELETE CASCADE,
    "productId"  uuid NOT NULL,
    "customerId" uuid NOT NULL,
    number       text NOT NULL,
    quantity     integer NOT NULL DEFAULT 1 CHECK (quantity > 0),
    "unitPrice"  numeric(12, 2) NOT NULL CHECK ("unitPrice" >= 0),
    total        numeric(12, 2) NOT NULL GENERATED ALWAYS AS (quantity * "unitPrice") STORED,
    status       "SaleStatus" NOT NULL DEFAULT 'PENDING',
    "soldAt"     timestamptz NOT NULL DEFAULT now(),
    "createdAt"  timestamptz NOT NULL DEFAULT now(),
    "updatedAt"  timestamptz NOT NULL DEFAULT now(),
    UNIQUE ("companyId", number),
    FOREIGN KEY ("companyId", "productId") REFERENCES "Product" ("companyId", id),
    FOREIGN KEY ("companyId", "customerId") REFERENCES "Customer" ("companyId", id)
);

-- What the agents did: written once, never changed, so there is no "updatedAt".
CREATE TABLE "AgentLog" (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "companyId"  uuid NOT NULL REFERENCES "Company" (id) ON DELETE CASCADE,
    "customerId" uuid,
    "agentName"  text NOT NULL,
    action       text NOT NULL,
    detail       jsonb NOT NULL DEFAULT '{}',
    "createdAt"  timestamptz NOT NULL DEFAULT now(),
    -- The log outlives the customer. Only "customerId" is emptied: "companyId" stays.
    FOREIGN KEY ("companyId", "customerId") REFERENCES "Customer" ("companyId", id)
        ON DELETE SET NULL ("customerId")
);

-- Every subscription a company has had; "Company" repeats the plan and status of the present one.
CREATE TABLE "Subscription" (
    id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "companyId"        uuid NOT NULL REFERENCES "Company" (id) ON DELETE CASCADE,
    reference          text NOT NULL,
    plan               text NOT NULL,
    status             text NOT NULL DEFAULT 'active',
    "startedAt"        timestamptz NOT NULL DEFAULT now(),
    "currentPeriodEnd" timestamptz,
    "createdAt"        timestamptz NOT NULL DEFAULT now(),
    "updatedAt"        timestamptz NOT NULL DEFAULT now(),
    UNIQUE ("companyId", reference),
    CHECK ("currentPeriodEnd" > "startedAt")
);

-- Where no unique key above already serves the read or the foreign key.
CREATE INDEX "Sale_companyId_soldAt_idx" ON "Sale" ("companyId", "soldAt" DESC);
CREATE INDEX "Sale_companyId_productId_idx" ON "Sale" ("companyId", "productId");
CREATE INDEX "Sale_companyId_customerId_idx" ON "Sale" ("companyId", "customerId");
CREATE INDEX "AgentLog_companyId_createdAt_idx" ON "AgentLog" ("companyId", "createdAt" DESC);
CREATE INDEX "AgentLog_companyId_customerId_idx" ON "AgentLog" ("companyId", "customerId");

CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "User"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "Company"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "Product"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "Customer"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "Sale"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
CREATE TRIGGER "touchUpdatedAt" BEFORE UPDATE ON "Subscription"
    FOR EACH ROW EXECUTE FUNCTION "touchUpdatedAt"();
