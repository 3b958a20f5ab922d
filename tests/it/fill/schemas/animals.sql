-- Inheritance, reserved words, mixed case, domains over domains, arrays of domains, odd types.
CREATE DOMAIN "Percent" AS numeric(5, 2) CHECK (VALUE >= 0 AND VALUE <= 100);
CREATE DOMAIN "Score" AS "Percent" CHECK (VALUE <> 50) NOT NULL;
CREATE DOMAIN year AS int CHECK (VALUE BETWEEN 1900 AND 2100);
CREATE TYPE "Mood" AS ENUM ('happy', 'so-so', 'it''s bad', 'with "quotes"');
CREATE TABLE "Animal" ("animalId" serial PRIMARY KEY, "Name" text NOT NULL, born year, "mood" "Mood" NOT NULL DEFAULT 'happy', CHECK ("Name" <> ''));
CREATE TABLE "Dog" (breed text NOT NULL, "goodBoy" boolean NOT NULL DEFAULT true, PRIMARY KEY ("animalId")) INHERITS ("Animal");
CREATE TABLE "Cat" (lives smallint NOT NULL DEFAULT 9 CHECK (lives BETWEEN 1 AND 9), PRIMARY KEY ("animalId")) INHERITS ("Animal");
CREATE TABLE "Visit" ("visit id" bigserial PRIMARY KEY, "animalId" int NOT NULL REFERENCES "Animal", "when" timestamptz NOT NULL, "order" int NOT NULL, "group" text, "user" text NOT NULL, "select" boolean, UNIQUE ("order"));
CREATE TABLE "table" ("column" int PRIMARY KEY, "from" date, "to" date, "primary" "Score", "check" "Percent"[], "default" varchar(3) NOT NULL UNIQUE, CHECK ("from" <= "to"));
CREATE TABLE "Ünïcode Täble" ("schlüssel" uuid PRIMARY KEY, "größe" numeric(3, 1) NOT NULL CHECK ("größe" > 0), "100%" int, "with""quote" text NOT NULL, "a.b" text);
CREATE TABLE odd (
    id int2 PRIMARY KEY, bits bit(12) NOT NULL, vbits varbit(8), addr macaddr, addr8 macaddr8, net cidr NOT NULL, host inet UNIQUE,
    shape polygon, ring circle, segment lseg, route path, area box, price money NOT NULL, span interval NOT NULL, at time NOT NULL, att timetz,
    doc xml, vec tsvector, query tsquery, lsn pg_lsn, small "char", nm name NOT NULL, arr int[][] NOT NULL, days daterange[], js json NOT NULL, moods "Mood"[] NOT NULL CHECK (cardinality(moods) > 0), one numeric(2, 2) NOT NULL, neg numeric(4, -2), tiny numeric(1, 0) UNIQUE, r4 real, oid oid
);
