-- The answer to a message whose webhook maps answers over the request: a repeat
-- gets the first one. `answer_of` is the execution that it is about, since a
-- key that has run out is taken over by the next.
ALTER TABLE dedupe ADD COLUMN answer BLOB;
ALTER TABLE dedupe ADD COLUMN answer_of TEXT;
