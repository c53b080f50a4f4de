"""Random rows of every supported type: their texts as PostgreSQL takes them, with the extremes more often than not.

A row is *sound* if the lake can hold all of it, or *wild*: then some values are ones that no Parquet reader could be
given unaltered, and the row belongs into quarantine.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Text = str | None
Make = Callable[[random.Random], str]

NULLS = 0.08
EXTREMES = 0.2
WILD_ROWS = 0.1
# The first and the last that a message's RFC 3339 can say.
FIRST_DAY, LAST_DAY = "0001-01-01", "9999-12-31"


@dataclass(frozen=True)
class Column:
    """A column of the table, its type in `schema`, and the texts that are put into it."""

    name: str
    table_type: str
    lake_type: str
    usual: Make
    extremes: tuple[str, ...] = ()
    # Values that the lake's type cannot hold, and the reason code that says so.
    wild: tuple[str, ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        """The expression of PostgreSQL's own text of it."""
        if self.table_type == "char(5)":
            # The output function's: a cast to text would strip the padding.
            return self.name
        nested = self.lake_type == "json" and not self.table_type.startswith("json")
        return f"to_jsonb({self.name})::text" if nested else f"{self.name}::text"


def integers(bits: int) -> Make:
    # Of any length, not only of the longest.
    return lambda chance: str(chance.getrandbits(chance.randint(1, bits - 1)) * chance.choice((1, -1)))


def decimals(digits: int, scale: int) -> Make:
    def make(chance: random.Random) -> str:
        length = chance.randint(1, digits)
        units = str(chance.randrange(10**length)).rjust(scale + 1, "0")
        whole, fraction = (units[:-scale], units[-scale:]) if scale else (units, "")
        return chance.choice(("", "-")) + whole + ("." + fraction if fraction else "")

    return make


def doubles(single: bool) -> Make:
    def make(chance: random.Random) -> str:
        exponent = chance.randint(-30, 30) if single else chance.randint(-290, 290)
        return repr(chance.uniform(-10, 10) * 10.0**exponent)

    return make


# Characters of every plane, mostly of the first; a random one each time would take most of the test's time.
RANGES = ((0x20, 0x7E), (0x01, 0x1F), (0x7F, 0x2FF), (0x300, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
WEIGHTS = (12, 1, 2, 3, 1, 3)
_POOL = random.Random(0)
CHARACTERS = [chr(_POOL.randint(*_POOL.choices(RANGES, WEIGHTS)[0])) for _ in range(20_000)]


def limited(longest: int) -> Make:
    return lambda chance: "".join(chance.choices(CHARACTERS, k=chance.randint(0, longest)))


def texts(longest: int) -> Make:
    usual, long = limited(longest), limited(longest * 500)
    return lambda chance: usual(chance) if chance.random() > 0.002 else long(chance)


def documents() -> Make:
    def value(chance: random.Random, depth: int) -> object:
        kind = chance.randrange(8 if depth else 6)
        if kind == 0:
            return chance.choice((None, True, False))
        if kind == 1:
            return chance.randint(-(10**18), 10**18)
        if kind == 2:
            return chance.uniform(-1e6, 1e6)
        if kind <= 5:
            return limited(12)(chance)
        if kind == 6:
            return [value(chance, depth - 1) for _ in range(chance.randint(0, 4))]
        return {limited(5)(chance): value(chance, depth - 1) for _ in range(chance.randint(0, 4))}

    def make(chance: random.Random) -> str:
        separators = chance.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:  ")))
        return json.dumps(value(chance, 3), ensure_ascii=chance.random() < 0.5, separators=separators)

    return make


def moments(first_year: int = 1, last_year: int = 9999) -> Make:
    def make(chance: random.Random) -> str:
        near = chance.random() < 0.5
        year = chance.randint(1990, 2060) if near else chance.randint(first_year, last_year)
        day = f"{year:04}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        clock = f"{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}"
        fraction = chance.choice(("", f".{chance.randrange(10**6):06}", f".{chance.randrange(1000):03}"))
        return f"{day} {clock}{fraction}"

    return make


def with_zone(make: Make) -> Make:
    # Away from the ends of the calendar, which an offset would carry over.
    return lambda chance: make(chance) + chance.choice(("Z", "+05:30", "-11:00", "+13:45"))


def array_text(chance: random.Random) -> str:
    numbers = [chance.choice(("NULL", str(chance.randint(-(2**31), 2**31 - 1)))) for _ in range(chance.randint(0, 6))]
    return "{" + ",".join(numbers) + "}"


def uuid_text(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def chosen(*words: str) -> Make:
    return lambda chance: chance.choice(words)


ENDS = (f"{FIRST_DAY} 00:00:00", f"{LAST_DAY} 23:59:59.999999", "1582-10-15 00:00:00", "1970-01-01 00:00:00")
TICKS = ("1969-12-31 23:59:59.999999", "2000-02-29 12:00:00.000001", "1900-03-01 00:00:00.1")
BEYOND = ("infinity", "-infinity", "4714-11-24 00:00:00 BC", "0044-03-15 12:00:00.5 BC", "10000-01-01 00:00:00")
STRINGS = (
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    '"',
    "\\",
    "\u2028\u2029",
    "\ufeff",
    "é",
    "e\u0301",
    "🍛🇮🇳👩‍🍳",
    "\x7f\x01\x1f",
)
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
SIXTEEN = ("32767", "-32768", "0", "-1")
THIRTY_TWO = ("2147483647", "-2147483648", "0")
SIXTY_FOUR = ("9223372036854775807", "-9223372036854775808", "9007199254740993", "-9007199254740993", "0")

COLUMNS: tuple[Column, ...] = (
    Column("flag", "boolean", "boolean", chosen("true", "false")),
    Column("i2", "smallint", "smallint", integers(16), SIXTEEN),
    Column("i4", "integer", "int", integers(32), THIRTY_TWO),
    Column("i8", "bigint", "bigint", integers(64), SIXTY_FOUR),
    Column("wider", "integer", "bigint", integers(32), THIRTY_TWO),
    Column("narrower", "bigint", "int", integers(32), THIRTY_TWO, ("2147483648", "-2147483649"), "out_of_range"),
    Column(
        "money2",
        "numeric(12,2)",
        "decimal(12,2)",
        decimals(12, 2),
        ("9999999999.99", "-0.01", "0"),
        ("NaN",),
        "wrong_type",
    ),
    Column(
        "long",
        "numeric(38,10)",
        "decimal(38,10)",
        decimals(38, 10),
        ("9" * 28 + "." + "9" * 10, "-0.0000000001"),
        ("NaN",),
        "wrong_type",
    ),
    Column(
        "whole", "numeric(38,0)", "decimal(38,0)", decimals(38, 0), ("9" * 38, "-" + "9" * 38), ("NaN",), "wrong_type"
    ),
    Column("rounded", "numeric(3,-2)", "decimal(5,0)", decimals(4, 0), ("99900", "-99900", "0")),
    Column(
        "tiny", "numeric(2,4)", "decimal(4,4)", lambda chance: f"0.00{chance.randrange(100):02}", ("-0.0099", "0.0001")
    ),
    Column(
        "free",
        "numeric",
        "decimal(20,5)",
        decimals(20, 5),
        ("999999999999999.99999", "1e3", "-0.00001"),
        ("1e15", "0.000001", "1e131071"),
        "out_of_range",
    ),
    Column(
        "f4",
        "real",
        "double",
        doubles(single=True),
        ("3.4028235e38", "1e-45", "-0", "16777217", "0.1"),
        NOT_NUMBERS,
        "wrong_type",
    ),
    Column(
        "f8",
        "double precision",
        "double",
        doubles(single=False),
        ("1.7976931348623157e308", "5e-324", "-0", "0.1", "9007199254740993"),
        NOT_NUMBERS,
        "wrong_type",
    ),
    Column("words", "text", "string", texts(40), STRINGS),
    Column("short", "varchar(20)", "string", limited(20), STRINGS),
    Column("padded", "char(5)", "string", limited(5), ("", "a", "     ", "ab é ")),
    Column("tag", "name", "string", lambda chance: limited(15)(chance), ("", "a" * 63)),
    Column(
        "ref",
        "uuid",
        "string",
        uuid_text,
        ("0" * 8 + "-0000-0000-0000-" + "0" * 12, "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12),
    ),
    Column(
        "doc",
        "json",
        "json",
        documents(),
        ("null", '" "', '{"a":1,"a":2}', "1e400", "0.10", '"\\u0000"', '"\\ud83d\\ude00"', nested(100)),
        (nested(200),),
        "too_deep",
    ),
    Column(
        "docb", "jsonb", "json", documents(), ("null", "{}", "1.10", "-0.0", nested(100)), (nested(200),), "too_deep"
    ),
    Column(
        "day",
        "date",
        "date",
        lambda chance: moments()(chance)[:10],
        (FIRST_DAY, LAST_DAY, "1582-10-15"),
        ("infinity", "4714-11-24 BC", "5874897-12-31", "10000-01-01"),
        "unparseable",
    ),
    Column(
        "local",
        "timestamp",
        "timestamp",
        moments(),
        (*ENDS, *TICKS),
        (*BEYOND, "294276-12-31 23:59:59.999999"),
        "unparseable",
    ),
    Column(
        "instant",
        "timestamptz",
        "timestamptz",
        with_zone(moments(2, 9998)),
        tuple(end + "Z" for end in (*ENDS, *TICKS)),
        (*BEYOND, "294276-12-31 23:59:59.999999Z"),
        "unparseable",
    ),
    Column("millis", "timestamp(3)", "timestamp", moments(), (ENDS[0], TICKS[1])),
    Column("mood", "mood", "string", chosen("fine", 'so"so', "bäd", "")),
    Column("numbers", "integer[]", "json", array_text, ("{}", "{NULL}", "{{1,2},{3,4}}")),
    Column(
        "place",
        "place",
        "json",
        lambda chance: f'("{chance.randrange(10**5)} ""x""",{chance.randint(0, 99999)})',
        ("(,)",),
    ),
    Column(
        "bytes",
        "bytea",
        "string",
        lambda chance: "\\x" + chance.randbytes(chance.randint(0, 20)).hex(),
        ("\\x", "\\x00ff"),
    ),
    Column(
        "span",
        "interval",
        "string",
        lambda chance: f"{chance.randint(-400, 400)} days {chance.randint(-99, 99)} months",
        ("0", "1 us"),
    ),
)

TYPES = """
    CREATE TYPE mood AS ENUM ('fine', 'so"so', 'bäd', '');
    CREATE TYPE place AS (city text, zip int);
"""


def table(name: str) -> str:
    columns = ", ".join(f"{column.name} {column.table_type}" for column in COLUMNS)
    return f"CREATE TABLE {name} (id bigint PRIMARY KEY, {columns}, created_at timestamptz NOT NULL)"


def schema() -> list[dict[str, str]]:
    """`schema` of the configuration."""
    columns = [
        ("id", "bigint"),
        *((column.name, column.lake_type) for column in COLUMNS),
        ("created_at", "timestamptz"),
    ]
    return [{"name": name, "type": lake_type} for name, lake_type in columns]


def rows(seed: int, count: int) -> Iterator[tuple[tuple[Text, ...], list[str]]]:
    """Each row's texts, as `table` has its columns, and the reasons for which it must be in quarantine."""
    chance = random.Random(seed)
    for key in range(1, count + 1):
        # One value that cannot be held is enough, and each of them has its turn.
        wild = chance.choice([column for column in COLUMNS if column.wild]) if chance.random() < WILD_ROWS else None
        values: list[Text] = []
        for column in COLUMNS:
            if column is wild:
                values.append(chance.choice(column.wild))
            elif chance.random() < NULLS:
                values.append(None)
            elif column.extremes and chance.random() < EXTREMES:
                values.append(chance.choice(column.extremes))
            else:
                values.append(column.usual(chance))
        created_at = (
            f"2025-11-{chance.randint(18, 24)} {chance.randrange(24):02}:{chance.randrange(60):02}:00.{key:06}Z"
        )
        reasons = [] if wild is None else [wild.reason if wild.reason == "too_deep" else f"{wild.reason}:{wild.name}"]
        yield (str(key), *values, created_at), reasons
