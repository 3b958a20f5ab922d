DROP TABLE webhooks, integrations;
