-- One firm. The template is made of this once; every firm is a copy of it.
CREATE TABLE cases (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reference text NOT NULL UNIQUE,
    opened_on date NOT NULL DEFAULT current_date
);
CREATE TABLE notes (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id bigint NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    text    text NOT NULL
);
CREATE INDEX notes_case ON notes (case_id);
