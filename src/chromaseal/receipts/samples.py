"""Invented receipts as plain data: for demos and tests, drawn by ``adapters/pillow/sample.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Layout = Literal["one-column", "two-columns"]


@dataclass(frozen=True, slots=True)
class SampleMerchant:
    """A shop that does not exist.

    Attributes:
        name: as it is printed on top.
        address: one string for each printed line.
        phone: as printed, or empty.
    """

    name: str
    address: tuple[str, ...]
    phone: str


@dataclass(frozen=True, slots=True)
class SampleItem:
    """One thing sold, and its price."""

    name: str
    price_cents: int


@dataclass(frozen=True, slots=True)
class SampleReceipt:
    """One receipt that can be drawn.

    Attributes:
        slug: a short name of its own, fit for a file name.
        merchant: who sold.
        date: as printed.
        items: what was sold.
        tax_cents: added to the items' prices.
        layout: amounts right behind the names, or in a column at the right edge.
        tilt_degrees: how far the paper lies turned, counter-clockwise.
        blur_px: radius of the blur; 0 is sharp.
    """

    slug: str
    merchant: SampleMerchant
    date: str
    items: tuple[SampleItem, ...]
    tax_cents: int
    layout: Layout = "two-columns"
    tilt_degrees: float = 0.0
    blur_px: float = 0.0
    closing: str = "THANK YOU FOR YOUR VISIT"

    @property
    def subtotal_cents(self) -> int:
        """The items' prices together."""
        return sum(item.price_cents for item in self.items)

    @property
    def total_cents(self) -> int:
        """What was paid."""
        return self.subtotal_cents + self.tax_cents


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One printed row: centred when ``place`` says so, else from the left, with an amount."""

    text: str
    amount: str = ""
    place: Literal["centre", "left"] = "left"
    size: Literal["name", "body"] = field(default="body")


def printed_rows(sample: SampleReceipt) -> tuple[SampleRow, ...]:
    """Give a receipt's rows from top to bottom; an empty text is a gap."""
    merchant = sample.merchant
    head = (merchant.address, (f"TEL {merchant.phone}",) if merchant.phone else ())
    sums = (
        SampleRow("SUBTOTAL", money(sample.subtotal_cents)),
        SampleRow("SALES TAX", money(sample.tax_cents)),
        SampleRow("TOTAL", money(sample.total_cents)),
    )
    return (
        SampleRow(merchant.name, place="centre", size="name"),
        *(SampleRow(text, place="centre") for part in head for text in part),
        SampleRow(""),
        SampleRow(f"DATE {sample.date}"),
        SampleRow(""),
        *(SampleRow(item.name, money(item.price_cents)) for item in sample.items),
        SampleRow(""),
        *sums,
        SampleRow(""),
        SampleRow(sample.closing, place="centre"),
    )


def money(cents: int) -> str:
    """Write cents as dollars and cents, without a currency sign."""
    return f"{cents // 100}.{cents % 100:02d}"


_BAKERY = SampleMerchant(
    "MAPLE STREET BAKERY", ("123 MAIN STREET", "SPRINGFIELD, IL 62701"), "(217) 555-0134"
)
_HARDWARE = SampleMerchant(
    "HOLLOWAY HARDWARE", ("4870 N. Harbor Blvd, Suite 12", "Fullerton, CA 92835"), "714-555-0188"
)
_COFFEE = SampleMerchant("Blue Heron Coffee", ("27 Wharf Rd", "Portland, ME 04101"), "207.555.0121")
_GROCER = SampleMerchant(
    "GREENLEAF MARKET #204", ("9 OAK AVENUE", "MADISON, WI 53703-1204"), "+1 608 555 0177"
)
_NOODLES = SampleMerchant(
    "Lucky Lantern Noodles", ("1550 Jackson St. S", "Seattle, WA 98144"), "(206) 555-0109"
)
_PHARMACY = SampleMerchant(
    "CRESCENT PHARMACY LTD", ("LOT 8, JALAN MERPATI 3/2", "47500 SUBANG, SELANGOR"), "03-5550 1420"
)


def _items(**prices_cents: int) -> tuple[SampleItem, ...]:
    return tuple(
        SampleItem(name.replace("_", " "), price_cents)
        for name, price_cents in prices_cents.items()
    )


SAMPLES: tuple[SampleReceipt, ...] = (
    SampleReceipt(
        slug="bakery-morning",
        merchant=_BAKERY,
        date="03/14/2025 08:12",
        items=_items(BUTTER_CROISSANT=425, SOURDOUGH_LOAF=750, COFFEE_LARGE=380),
        tax_cents=97,
    ),
    SampleReceipt(
        slug="bakery-party",
        merchant=_BAKERY,
        date="04/02/2025 16:40",
        items=_items(CHOCOLATE_CAKE=3200, PAPER_PLATES=499, BIRTHDAY_CANDLES=250, LEMON_TART=575),
        tax_cents=271,
        tilt_degrees=2.5,
    ),
    SampleReceipt(
        slug="hardware-paint",
        merchant=_HARDWARE,
        date="2025-01-22",
        items=_items(WALL_PAINT_WHITE=2899, ROLLER_SET=1249, MASKING_TAPE=389, DROP_CLOTH=675),
        tax_cents=430,
    ),
    SampleReceipt(
        slug="hardware-garden",
        merchant=_HARDWARE,
        date="2025-05-03",
        items=_items(GARDEN_HOSE_50FT=3499, SPRAY_NOZZLE=899, POTTING_SOIL=1150),
        tax_cents=458,
        tilt_degrees=-3.5,
    ),
    SampleReceipt(
        slug="coffee-two",
        merchant=_COFFEE,
        date="Feb 9, 2025 10:31 AM",
        items=_items(Flat_White=475, Oat_Latte=525, Blueberry_Muffin=395),
        tax_cents=112,
        layout="one-column",
        closing="See you soon",
    ),
    SampleReceipt(
        slug="grocer-week",
        merchant=_GROCER,
        date="06/18/2025 18:05",
        items=_items(
            WHOLE_MILK_1GAL=429,
            BANANAS=187,
            BROWN_EGGS_12CT=549,
            CHEDDAR_CHEESE=612,
            ROMA_TOMATOES=264,
            SPAGHETTI=159,
            OLIVE_OIL=1099,
        ),
        tax_cents=0,
    ),
    SampleReceipt(
        slug="noodles-dinner",
        merchant=_NOODLES,
        date="2025-03-30 19:22",
        items=_items(Beef_Noodle_Soup=1495, Pork_Dumplings=850, Jasmine_Tea=350),
        tax_cents=276,
        layout="one-column",
        closing="Come again!",
    ),
    SampleReceipt(
        slug="pharmacy-cold",
        merchant=_PHARMACY,
        date="11-07-2025",
        items=_items(COUGH_SYRUP=1290, VITAMIN_C=2450, FACE_TISSUE=590),
        tax_cents=260,
        blur_px=1.0,
    ),
)
