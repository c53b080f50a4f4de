"""The table and the topic every contestant reads: the same rows from the same seed, on any machine.

Rows are made by the server itself from their number alone. Two kinds:

``narrow``  the documents' orders: 80 customers, 8 restaurants, 32 items, about 190 bytes as JSON
``wide``    every customer name and item distinct and long, about 350 bytes as JSON

One row in ``INVALID_EVERY`` breaks a rule (amount zero or negative, a name empty), times spread evenly over ``DAYS``
days in the order of ids.
"""

from dataclasses import dataclass

DAYS = 8
INVALID_EVERY = 100
FIRST_DAY = "2025-11-18"
KINDS = ("narrow", "wide")


@dataclass(frozen=True)
class Size:
    """How many rows, and of which kind."""

    rows: int
    kind: str

    @property
    def invalid(self) -> int:
        """How many break a rule."""
        return self.rows // INVALID_EVERY


def table_sql(size: Size) -> str:
    """Statements that fill the empty table ``orders``. Ids run from 1 without a gap."""
    # Multiplicative hashing: as good as random for sizes and compression, and the same everywhere.
    dice = "(i * 2654435761 % 4294967296)"
    restaurants = _pick("restaurant", 8, f"{dice} / 7 % 8")
    if size.kind == "narrow":
        customer = f"'Customer ' || ({dice} % 80)"
        item = _pick("item", 32, f"{dice} / 11 % 32")
    else:
        customer = "'Customer ' || md5(i::text) || ' ' || md5((i + 1)::text)"
        item = "'Dish ' || md5((i * 3)::text) || ' with ' || md5((i * 5)::text) || ' on ' || md5((i * 7)::text)"
    spoiled = f"i % {INVALID_EVERY} = 0"
    kind_of_fault = f"(i / {INVALID_EVERY}) % 4"
    return f"""
        INSERT INTO orders (order_id, customer_name, restaurant_name, item, amount, order_status, created_at)
        SELECT i,
               CASE WHEN {spoiled} AND {kind_of_fault} = 0 THEN '' ELSE {customer} END,
               {restaurants},
               CASE WHEN {spoiled} AND {kind_of_fault} = 1 THEN '' ELSE {item} END,
               CASE WHEN {spoiled} AND {kind_of_fault} = 2 THEN 0
                    WHEN {spoiled} AND {kind_of_fault} = 3 THEN -1
                    ELSE 1 END * (5000 + {dice} / 13 % 95000) / 100.0,
               (ARRAY['PLACED', 'PREPARING', 'DELIVERED', 'CANCELLED'])[1 + {dice} / 17 % 4],
               timestamp '{FIRST_DAY}' + (i - 1) * (interval '{DAYS} days' / {size.rows})
          FROM generate_series(1, {size.rows}::bigint) AS i;
    """


def _pick(what: str, number: int, index: str) -> str:
    names = _NAMES[what]
    assert len(names) == number
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return f"(ARRAY[{quoted}])[1 + {index}]"


_NAMES = {
    "restaurant": (
        "Spice Garden",
        "Burger Junction",
        "Pizza Palace",
        "Dosa Corner",
        "Biryani House",
        "Wok Express",
        "Café Délice",
        "Taco Fiesta",
    ),
    "item": tuple(
        f"{style} {dish}"
        for style in ("Classic", "Spicy", "Grilled", "Vegan")
        for dish in ("Biryani", "Burger", "Curry", "Dosa", "Noodles", "Pizza", "Salad", "Taco")
    ),
}
