-- Conversations and their messages, as they lay in the browser's storage before.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE conversations (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title       varchar(255) NOT NULL,
    "userId"    varchar(255) NOT NULL,          -- Auth0: auth0|..., google-oauth2|...
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE messages (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "conversationId"  uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    role              varchar(20) NOT NULL CHECK (role IN ('user', 'assistant', 'system')),
    content           text NOT NULL,
    reasoning         jsonb,
    "functionCalls"   jsonb,
    "functionOutputs" jsonb,
    "createdAt"       timestamptz NOT NULL DEFAULT now()
);

-- A user's conversations, last changed first; a conversation's messages in order.
CREATE INDEX "conversations_userId_updatedAt_idx" ON conversations ("userId", "updatedAt" DESC);
CREATE INDEX "messages_conversationId_createdAt_idx" ON messages ("conversationId", "createdAt");

CREATE FUNCTION touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = ''
AS $$
BEGIN
    NEW."updatedAt" = clock_timestamp();
    RETURN NEW;
END
$$;

CREATE TRIGGER touch_updated_at BEFORE UPDATE ON conversations
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

-- A new message moves its conversation to the top of the list.
CREATE FUNCTION touch_conversation() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE conversations SET "updatedAt" = clock_timestamp() WHERE id = NEW."conversationId";
    RETURN NULL;
END
$$;

CREATE TRIGGER touch_conversation AFTER INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION touch_conversation();
