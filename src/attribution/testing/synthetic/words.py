"""Words of a generated org: coined companies, stages, types, roles."""

from __future__ import annotations

TOWN_STARTS = (
    "Ash", "Bramble", "Calder", "Dun", "Elm", "Fern", "Glen", "Harts", "Inver", "Kestrel", "Lark",
    "Mill", "North", "Oaken", "Pine", "Quill", "Rook", "Stone", "Tarn", "Under", "Vex", "Wren",
    "Yarrow", "Thistle", "Hollow",
)  # fmt: skip
TOWN_ENDS = (
    "gate", "mere", "wick", "barrow", "field", "moor", "edge", "combe", "ford", "dale", "holt",
    "shaw", "brook", "fell", "ridge", "stead",
)  # fmt: skip
TRADES = (
    "Foods", "Logistics", "Textiles", "Clinics", "Ceramics", "Paper", "Marine", "Timber",
    "Insurance", "Energy", "Schools", "Foundry",
)  # fmt: skip
SERVICES = (
    "Systems", "Consulting", "Cloud Works", "Data Partners", "Integrations", "Advisory", "Networks",
    "Solutions",
)  # fmt: skip

OPEN = ("Prospecting", "Qualification", "Needs Analysis", "Proposal", "Negotiation")
# label, API name, active, outcome, probability, forecast category
STAGES = (
    ("Prospecting", "Prospecting", True, "open", 10, "Pipeline"),
    ("Qualification", "Qualification", True, "open", 20, "Pipeline"),
    ("Needs Analysis", "Needs Analysis", True, "open", 35, "Pipeline"),
    ("Proposal", "Proposal/Price Quote", True, "open", 60, "BestCase"),
    ("Negotiation", "Negotiation", True, "open", 80, "Forecast"),
    ("Perception Review", "Perception Review", False, "open", 50, "Pipeline"),
    ("Closed Won", "Closed Won", True, "won", 100, "Closed"),
    ("Closed Lost", "Closed Lost", True, "lost", 0, "Omitted"),
    ("Signed on Paper", "Signed on Paper", False, "won", 100, "Closed"),
)
# Stages that somebody deleted: only the row's own forecast category and probability still tell the outcome.
FORGOTTEN = {
    "open": ("Verbal", 70, "Forecast"),
    "won": ("Booked", 100, "Closed"),
    "lost": ("Dropped", 0, "Omitted"),
}
TYPES = {
    "new": ("New Customer", "New Business", "NEW LOGO"),
    "expansion": ("Existing Customer - Upgrade", "Add-On Business", "Cross-sell"),
    "renewal": ("Renewal", "Existing Customer - Renewal"),
    "unclassified": (None, "Services", "Pilot"),
}
LEAD_SOURCES = {
    None: 6, "Web": 6, "Trade Show": 3, "Phone Inquiry": 3, "Partner": 1, "partner referral": 1, "Channel": 1,
}  # fmt: skip
ROLES = ("Referral Partner", "System Integrator", "VAR/Reseller", "Advertiser", None)
PROGRAMS = ("Referral", "Resale", "Co-sell", "Technology Alliance", "Managed Services")
LEVELS = ("Registered", "Silver", "Gold")
# developer names of the record types of opportunities, by what such a deal is
RECORD_TYPES = {
    "new": ("New_Business",),
    "expansion": ("Expansion", "Services_Addendum"),
    "renewal": ("Renewal",),
    "unclassified": ("Pilot",),
    "excluded": ("Internal",),
}
INDUSTRIES = ("Retail", "Health", "Public Sector", "Manufacturing", None)
# ISO code -> units of the currency for a US dollar; the others have no rate
CURRENCIES = {"USD": "1", "EUR": "0.917431", "JPY": "149.253731", "KWD": "0.307692", "GBP": "0.787402"}
DEAL_CURRENCIES = {"USD": 60, "EUR": 16, "JPY": 10, "KWD": 8, "CHF": 3, "GBP": 3}
