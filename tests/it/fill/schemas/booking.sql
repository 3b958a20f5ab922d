-- Rooms and bookings: ranges, exclusion constraints, generated ranges, opening hours.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE hotels (id serial PRIMARY KEY, name text NOT NULL, stars smallint CHECK (stars BETWEEN 1 AND 5), location point, timezone text NOT NULL DEFAULT 'UTC');
CREATE TABLE rooms (
    id serial PRIMARY KEY,
    hotel_id int NOT NULL REFERENCES hotels ON DELETE CASCADE,
    number varchar(6) NOT NULL,
    capacity int NOT NULL CHECK (capacity > 0 AND capacity <= 12),
    rates int4range NOT NULL,
    features text[] NOT NULL DEFAULT '{}' CHECK (features <@ ARRAY['wifi', 'balcony', 'bath', 'view']),
    UNIQUE (hotel_id, number)
);
CREATE TABLE guests (id serial PRIMARY KEY, full_name text NOT NULL, email text NOT NULL UNIQUE CHECK (email LIKE '%@%.%'), birthday date CHECK (birthday < '2010-01-01'));
CREATE TABLE reservations (
    id bigserial PRIMARY KEY,
    room_id int NOT NULL REFERENCES rooms,
    guest_id int NOT NULL REFERENCES guests,
    during tstzrange NOT NULL,
    adults int NOT NULL CHECK (adults >= 1),
    children int NOT NULL DEFAULT 0 CHECK (children >= 0),
    status text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'confirmed', 'cancelled')),
    CHECK (NOT isempty(during)),
    CHECK (upper(during) - lower(during) <= interval '30 days'),
    CHECK (adults + children <= 12),
    CONSTRAINT no_double_booking EXCLUDE USING gist (room_id WITH =, during WITH &&) WHERE (status <> 'cancelled')
);
CREATE TABLE shifts (
    id bigserial PRIMARY KEY,
    hotel_id int NOT NULL REFERENCES hotels,
    employee text NOT NULL,
    starts_at timestamp NOT NULL,
    ends_at timestamp NOT NULL,
    CHECK (ends_at > starts_at),
    CONSTRAINT no_overlap EXCLUDE USING gist (hotel_id WITH =, employee WITH =, tsrange(starts_at, ends_at, '[)') WITH &&)
);
CREATE TABLE seasons (
    hotel_id int NOT NULL REFERENCES hotels,
    first_day date NOT NULL,
    last_day date NOT NULL,
    factor numeric(4, 2) NOT NULL CHECK (factor BETWEEN 0.5 AND 3.0),
    CHECK (first_day <= last_day),
    EXCLUDE USING gist (hotel_id WITH =, daterange(first_day, last_day, '[]') WITH &&)
);
CREATE TABLE opening_hours (
    hotel_id int NOT NULL REFERENCES hotels,
    weekday smallint NOT NULL CHECK (weekday BETWEEN 0 AND 6),
    opens time NOT NULL,
    closes time NOT NULL,
    PRIMARY KEY (hotel_id, weekday),
    CHECK (opens < closes)
);
CREATE TABLE maintenance (
    room_id int NOT NULL REFERENCES rooms,
    days datemultirange NOT NULL,
    slot int8range,
    note text,
    seats box,
    EXCLUDE USING gist (room_id WITH =, seats WITH &&)
);
