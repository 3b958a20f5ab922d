// The tables as the server reads them. `npx drizzle-kit generate` writes a migration when this file changes;
// `lyrox db migrate` applies it.
import { sql } from "drizzle-orm";
import { boolean, index, json, jsonb, pgTable, text, timestamp, varchar } from "drizzle-orm/pg-core";

export const users = pgTable("users", {
  id: varchar("id").primaryKey().default(sql`gen_random_uuid()`),
  username: text("username").notNull().unique(),
  password: text("password").notNull(),
  createdAt: timestamp("createdAt").notNull().defaultNow(),
});

export const clients = pgTable("clients", {
  id: varchar("id").primaryKey().default(sql`gen_random_uuid()`),
  userId: varchar("userId").notNull().references(() => users.id, { onDelete: "cascade" }),
  name: text("name").notNull(),
  domain: text("domain"),
  // What the widget on a customer's page sends: given once, never changed.
  apiKey: text("apiKey").notNull().unique(),
  createdAt: timestamp("createdAt").notNull().defaultNow(),
}, (table) => [index("clients_userId_idx").on(table.userId)]);

export const clientWidgets = pgTable("client_widgets", {
  id: varchar("id").primaryKey().default(sql`gen_random_uuid()`),
  clientId: varchar("clientId").notNull().references(() => clients.id, { onDelete: "cascade" }),
  name: text("name").notNull(),
  enabled: boolean("enabled").notNull().default(true),
  config: jsonb("config").notNull().default({}),
  createdAt: timestamp("createdAt").notNull().defaultNow(),
  updatedAt: timestamp("updatedAt").notNull().defaultNow(),
}, (table) => [index("client_widgets_clientId_idx").on(table.clientId)]);

// As connect-pg-simple would create it, names included: it finds the table and leaves it alone.
export const session = pgTable("session", {
  sid: varchar("sid").primaryKey(),
  sess: json("sess").notNull(),
  expire: timestamp("expire", { precision: 6 }).notNull(),
}, (table) => [index("IDX_session_expire").on(table.expire)]);
