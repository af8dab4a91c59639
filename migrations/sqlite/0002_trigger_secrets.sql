-- Secrets of webhooks, sealed outside the database, apart from the trigger's
-- public specification. The fingerprint is equal for equal secrets under one
-- sealing key, and tells nothing of them to who does not hold the key.
ALTER TABLE triggers ADD COLUMN sealed_secrets TEXT;
ALTER TABLE triggers ADD COLUMN secrets_fingerprint TEXT;
