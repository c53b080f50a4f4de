"""Purchase events as a stranger would publish them, and the two batches the documents show."""

import json
from typing import Any


def event(number: int, category: str, total: str, time: str, **changed: Any) -> dict[str, Any]:
    """A valid event of one piece, so that its total is its price."""
    return {
        "event_id": f"purchase_{number}",
        "timestamp": time,
        "customer_id": f"customer_{number}",
        "customer_segment": "Regular",
        "product_id": f"product_{category.lower()}_1",
        "product_category": category,
        "product_name": f"{category} Item 1",
        "quantity": 1,
        "unit_price": total,
        "total_amount": total,
        "currency": "USD",
        "payment_method": "Credit Card",
        "order_source": "Website",
        "location": {"country": "US", "city": "New York"},
        "discount_percentage": "0.00",
        "is_new_customer": False,
        "device_type": "Mobile",
        **changed,
    }


def message(made: dict[str, Any]) -> tuple[bytes, bytes]:
    """Key and value; amounts, kept as text until here, become JSON numbers digit by digit."""
    text = json.dumps(made)
    for name in ("unit_price", "total_amount", "discount_percentage"):
        text = text.replace(f'"{name}": "{made[name]}"', f'"{name}": {made[name]}')
    return made["customer_id"].encode(), text.encode()


DAY = "2025-06-26"


def first_batch() -> list[dict[str, Any]]:
    """Nine events of the documents' first batch: five amounts are theirs, four make up their totals."""
    amounts = [
        ("Electronics", "6611.35"),
        ("Electronics", "2166.30"),
        ("Electronics", "2321.64"),
        ("Sports", "887.79"),
        ("Electronics", "509.59"),
        ("Electronics", "4983.68"),
        ("Sports", "200.00"),
        ("Sports", "177.71"),
        ("Clothing", "599.44"),
    ]
    return [event(n, *amount, f"{DAY}T14:11:{10 + n}.051Z") for n, amount in enumerate(amounts, start=1)]


def second_batch() -> list[dict[str, Any]]:
    """Eleven events of the second."""
    amounts = [
        ("Home", "272.83"),
        ("Sports", "789.18"),
        ("Clothing", "522.28"),
        ("Home", "1000.00"),
        ("Home", "1000.00"),
        ("Home", "987.88"),
        ("Clothing", "300.00"),
        ("Clothing", "293.14"),
        ("Sports", "286.46"),
        ("Books", "124.88"),
        ("Books", "100.00"),
    ]
    return [event(100 + n, *amount, f"{DAY}T14:11:{20 + n}.219Z") for n, amount in enumerate(amounts)]
