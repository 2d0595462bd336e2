CREATE TABLE orders (
    id uuid PRIMARY KEY,
    customer text NOT NULL,
    total numeric(10, 2) NOT NULL,
    items jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- One row for each order whose handler took effect; runs above 1 are duplicates.
CREATE TABLE reservations (
    order_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    runs integer NOT NULL DEFAULT 1
);
-- The same for further consumers of the event.
CREATE TABLE notices (
    consumer integer NOT NULL,
    order_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    runs integer NOT NULL DEFAULT 1,
    PRIMARY KEY (consumer, order_id)
);
CREATE TABLE stock (
    sku integer PRIMARY KEY,
    reserved bigint NOT NULL DEFAULT 0
);
INSERT INTO stock (sku) SELECT generate_series(0, 9);
