"""The demo's tasks: data made from a seed, no two examples with the same answer, and the program for each."""

import random
from collections.abc import Callable
from datetime import date, timedelta

import msgspec

import dspex

TRAIN, VALIDATION, TEST = 48, 20, 45

Pair = tuple[str, str]  # what is given, and the right answer


class Task(msgspec.Struct, frozen=True):
    """One task: its fields, its instruction, the form of its answers, and where its examples come from.

    `grammar` is llama.cpp's GBNF: the answer begins with a blank and ends with a line end, where generation stops.
    """

    given: str
    wanted: str
    instructions: str
    grammar: str
    max_tokens: int
    pairs: Callable[[random.Random], list[Pair]]

    def program(self) -> dspex.Predict:
        """The program that will be optimised: one signature, no demonstrations yet."""
        signature = dspex.make_signature(f"{self.given} -> {self.wanted}", self.instructions)
        return dspex.Predict(signature, grammar=self.grammar, max_tokens=self.max_tokens)

    def metric(self, example: dspex.Example, prediction: dspex.Prediction, trace: object = None) -> bool:
        """Whether the answer is right to the letter."""
        return bool(prediction[self.wanted].strip() == example[self.wanted])

    def data(self, seed: int, train: int = TRAIN, validation: int = VALIDATION, test: int = TEST) -> "Data":
        """Examples from a seed; since no two share an answer, none of the test answers can be copied from a demo."""
        rng = random.Random(f"{self.wanted}/{seed}")
        once = {answer: given for given, answer in self.pairs(rng)}
        pairs = sorted((given, answer) for answer, given in once.items())
        rng.shuffle(pairs)
        examples = [
            dspex.Example({self.given: given, self.wanted: answer}).with_inputs(self.given) for given, answer in pairs
        ]
        return Data(examples[:train], examples[train : train + validation], examples[train + validation :][:test])


class Data(msgspec.Struct, frozen=True):
    """What a program learns from, what candidates are compared on, and what nobody sees before the end."""

    train: list[dspex.Example]
    validation: list[dspex.Example]
    test: list[dspex.Example]


FIRST = """
Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karin Louis Marta Nora Oscar Paul Quentin Rosa Simon Tessa
Ursula Victor Wanda Yvonne
"""
LAST = """
Adler Becker Conrad Duval Engel Fischer Garcia Hansen Ivanov Jensen Keller Larsen Moreau Novak Olsen Petrov Quinn Rossi
Stein Turner Ulrich Vogel Weber Young
"""
MIDDLE = "ABCDEFGHJKLMNPRSTW"
NAME_FORMS = (
    "{first} {last}",
    "{last}, {first}",
    "Dr. {first} {last}",
    "{first} {middle}. {last}",
    "{first} {last}, PhD",
    "Mr. {first} {last}",
    "{first} {loud_last}",
    "Prof. {first} {middle}. {last}",
    "{first} {last} (she/they)",
    "{loud_first} {loud_last}",
)


def names(rng: random.Random) -> list[Pair]:
    """People in ten ways of writing a name, and how a list sorts them."""
    people = [(first, last) for first in FIRST.split() for last in LAST.split()]
    rng.shuffle(people)
    return [(_written(rng, first, last), f"{last}, {first}") for first, last in people]


def _written(rng: random.Random, first: str, last: str) -> str:
    form, middle = rng.choice(NAME_FORMS), rng.choice(MIDDLE)
    return form.format(first=first, last=last, middle=middle, loud_first=first.upper(), loud_last=last.upper())


OWNERS = "order invoice customer product shipment account store supplier employee vehicle payment project"
QUANTITIES = "total price weight count tax cost length width height age score rate"
HEADER_FORMS: tuple[Callable[[str, str], str], ...] = (
    lambda owner, quantity: f"{owner}-{quantity}".upper(),
    lambda owner, quantity: f"{quantity.title()} of {owner}",
    lambda owner, quantity: f"{owner.title()} {quantity} (EUR)",
    lambda owner, quantity: f"{owner.title()}{quantity.title()}",
    lambda owner, quantity: f"{quantity}/{owner}",
    lambda owner, quantity: f"{owner}.{quantity} [kg]",
    lambda owner, quantity: f"{quantity.title()}, {owner}",
    lambda owner, quantity: f"the {owner}'s {quantity}",
)


def headers(rng: random.Random) -> list[Pair]:
    """Spreadsheet headers in eight styles, and one name for each column."""
    columns = [(owner, quantity) for owner in OWNERS.split() for quantity in QUANTITIES.split()]
    return [(rng.choice(HEADER_FORMS)(owner, quantity), f"{owner}_{quantity}") for owner, quantity in columns]


# One city a country, so that no answer stands twice.
CITIES = """
Vienna AT, Brussels BE, Sofia BG, Zagreb HR, Nicosia CY, Prague CZ, Copenhagen DK, Tallinn EE, Helsinki FI, Lyon FR,
Munich DE, Athens GR, Budapest HU, Dublin IE, Milan IT, Riga LV, Vilnius LT, Luxembourg LU, Valletta MT, Rotterdam NL,
Krakow PL, Lisbon PT, Bucharest RO, Bratislava SK, Ljubljana SI, Barcelona ES, Gothenburg SE, Oslo NO, Reykjavik IS,
Geneva CH, London GB, Kyiv UA, Minsk BY, Chisinau MD, Moscow RU, Belgrade RS, Sarajevo BA, Podgorica ME, Skopje MK,
Tirana AL, Istanbul TR, Tbilisi GE, Yerevan AM, Baku AZ, Almaty KZ, Tashkent UZ, Bishkek KG, Dushanbe TJ, Ashgabat TM,
Kabul AF, Tehran IR, Baghdad IQ, Damascus SY, Beirut LB, Amman JO, Haifa IL, Riyadh SA, Kuwait City KW, Manama BH,
Doha QA, Dubai AE, Muscat OM, Sanaa YE, Karachi PK, Mumbai IN, Kathmandu NP, Thimphu BT, Dhaka BD, Colombo LK, Male MV,
Yangon MM, Bangkok TH, Vientiane LA, Phnom Penh KH, Hanoi VN, Penang MY, Singapore SG, Jakarta ID, Manila PH,
Bandar Seri Begawan BN, Dili TL, Shanghai CN, Taipei TW, Ulaanbaatar MN, Pyongyang KP, Busan KR, Osaka JP, Sydney AU,
Auckland NZ, Suva FJ, Port Moresby PG, Honiara SB, Port Vila VU, Apia WS, Toronto CA, Chicago US, Guadalajara MX,
Guatemala City GT, Belmopan BZ, San Salvador SV, Tegucigalpa HN, Managua NI, San Jose CR, Panama City PA, Havana CU,
Kingston JM, Port-au-Prince HT, Santo Domingo DO, Nassau BS, Bridgetown BB, Port of Spain TT, Medellin CO, Caracas VE,
Georgetown GY, Paramaribo SR, Quito EC, Lima PE, La Paz BO, Recife BR, Asuncion PY, Montevideo UY, Rosario AR,
Santiago CL, Cairo EG, Tripoli LY, Tunis TN, Algiers DZ, Casablanca MA, Khartoum SD, Addis Ababa ET, Asmara ER,
Djibouti DJ, Mogadishu SO, Nairobi KE, Kampala UG, Kigali RW, Bujumbura BI, Dodoma TZ, Lusaka ZM, Harare ZW, Maputo MZ,
Lilongwe MW, Windhoek NA, Gaborone BW, Durban ZA, Luanda AO, Kinshasa CD, Libreville GA, Yaounde CM, Lagos NG, Accra GH
"""


def cities(_rng: random.Random) -> list[Pair]:
    """Cities, and their countries' codes."""
    entries = [entry.strip() for entry in CITIES.replace("\n", " ").split(",")]
    return [(city, code) for city, _, code in (entry.rpartition(" ") for entry in entries)]


DATE_FORMS = (
    "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%d/%b/%Y", "%Y/%m/%d", "%d-%m-%Y", "%b %d %Y", "%A, %d %B %Y", "%Y%m%d", "%d %b %y",
)  # fmt: skip


def dates(rng: random.Random) -> list[Pair]:
    """Days from 2000 to 2026 in ten notations, and their ISO form."""
    first = date(2000, 1, 1)
    days = [first + timedelta(days) for days in rng.sample(range((date(2026, 12, 31) - first).days), 400)]
    return [(day.strftime(rng.choice(DATE_FORMS)), day.isoformat()) for day in days]


TASKS = {
    "name": Task(
        "person",
        "sorted",
        "Write the person's name as Last, First. Drop titles and middle initials.",
        r'root ::= " " [A-Z] [a-z]+ ", " [A-Z] [a-z]+ "\n"',
        14,
        names,
    ),
    "header": Task(
        "header",
        "column",
        "Turn the spreadsheet header into a snake_case column name: what it belongs to, then the quantity; no units.",
        r'root ::= " " [a-z]+ "_" [a-z]+ "\n"',
        10,
        headers,
    ),
    "city": Task(
        "city",
        "country",
        "Give the two-letter country code of the city.",
        r'root ::= " " [A-Z] [A-Z] "\n"',
        4,
        cities,
    ),
    "date": Task(
        "day",
        "iso",
        "Write the date as year-month-day.",
        r'root ::= " " [0-9]{4} "-" [0-9]{2} "-" [0-9]{2} "\n"',
        16,
        dates,
    ),
}
