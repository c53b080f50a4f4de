-- The orders table of the walk, its ten sample orders, and a role that may only read.
--
-- Runs as an administrator of the database: by `foodstream local up`, from docker-entrypoint-initdb.d, or by hand with
-- psql -f. Running it again changes nothing: the sample orders are written only into an empty table.

BEGIN;

CREATE TABLE IF NOT EXISTS orders (
    order_id        serial PRIMARY KEY,
    customer_name   varchar(255)  NOT NULL,
    restaurant_name varchar(255)  NOT NULL,
    item            varchar(255)  NOT NULL,
    amount          numeric(10,2) NOT NULL,
    order_status    varchar(50)   CHECK (order_status IN ('PLACED', 'PREPARING', 'DELIVERED', 'CANCELLED')),
    -- In UTC whatever the zone of the session that writes: with a plain now(), rows of a writer in another zone would
    -- lie hours off, and capture would pass them by. NOT NULL, since a row without a time can never be captured.
    created_at      timestamp     NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

-- Capture reads pages in exactly this order; without the index each poll would sort the table.
CREATE INDEX IF NOT EXISTS orders_created_at_order_id_idx ON orders (created_at, order_id);

INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at)
SELECT sample.*
  FROM (VALUES
    ('Alice Smith',   'Spice Garden',   'Butter Chicken',      350.00, 'DELIVERED', timestamp '2025-11-18 10:00:00'),
    ('Bob Jones',     'Burger King',    'Whopper Meal',        250.50, 'DELIVERED', timestamp '2025-11-18 10:15:00'),
    ('Charlie Brown', 'Pizza Hut',      'Margherita Pizza',    199.00, 'DELIVERED', timestamp '2025-11-18 10:30:00'),
    ('Diana Prince',  'Sushi Corner',   'Salmon Nigiri Set',   540.75, 'DELIVERED', timestamp '2025-11-18 10:45:00'),
    ('Ethan Hunt',    'Taco Fiesta',    'Chicken Burrito',     180.25, 'CANCELLED', timestamp '2025-11-18 11:00:00'),
    ('Fiona Green',   'Green Bowl',     'Quinoa Salad',        220.00, 'DELIVERED', timestamp '2025-11-18 11:15:00'),
    ('George Miller', 'Noodle House',   'Pad Thai',            275.40, 'PREPARING', timestamp '2025-11-18 11:30:00'),
    ('Hannah Lee',    'Curry Point',    'Paneer Tikka Masala', 310.00, 'PREPARING', timestamp '2025-11-18 11:40:00'),
    ('Ivan Petrov',   'Dragon Wok',     'Kung Pao Chicken',    265.90, 'PLACED',    timestamp '2025-11-18 11:50:00'),
    ('Jack Black',    'Sandwich Lane',  'Club Sandwich',       120.00, 'PLACED',    timestamp '2025-11-18 12:00:00')
  ) AS sample (customer_name, restaurant_name, item, amount, order_status, created_at)
 WHERE NOT EXISTS (SELECT FROM orders)
 ORDER BY sample.created_at;

-- foodstream_reader is all that capture and verification need: the rows, how far their keys are, and when other sessions began (without which
-- no poll can tell whether an older transaction is still to commit). Grant it to the login that runs them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'foodstream_reader') THEN
        BEGIN
            CREATE ROLE foodstream_reader NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- roles are the whole server's: this script made it just now for another database
        END;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO foodstream_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO foodstream_reader', current_schema());
    GRANT SELECT ON orders TO foodstream_reader;
    -- A sequence that has gone back shows a database restored from an older copy, which would give keys out again.
    IF pg_get_serial_sequence('orders', 'order_id') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO foodstream_reader', pg_get_serial_sequence('orders', 'order_id'));
    END IF;
    GRANT pg_read_all_stats TO foodstream_reader;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'role foodstream_reader is left out or incomplete: % may not create or grant it', current_user;
END
$$;

-- The walk's own user inserts test orders and changes its table at will, so it owns it, where there is such a user.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'student') AND current_user <> 'student' THEN
        ALTER TABLE orders OWNER TO student;
        GRANT foodstream_reader TO student;
    END IF;
END
$$;

COMMIT;
