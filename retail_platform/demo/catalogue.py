# ruff: noqa: E501 - tables read best with one row per line
"""Static reference data of the synthetic feeds: markets, shops, articles, campaigns, rate levels.

The three feeds that hold nothing else (stores, discounts, partner_stores) are laid out here, too.
Figures are calibrated on the public "Global Fashion Retail" data set. What is drawn at random lives
in `retail_platform.demo.generator`; real markets are configured in `countries.yaml`, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

FEMININE, MASCULINE, CHILDREN = "Feminine", "Masculine", "Children"


@dataclass(frozen=True)
class Shop:
    """One own shop.

    Attributes:
        associates: people who sell; four more (managers, cashier, stock clerk) do not.
    """

    city: str
    zip_code: str
    latitude: float
    longitude: float
    associates: int


@dataclass(frozen=True)
class Market:
    """One country as the source systems see it.

    Attributes:
        code: ISO code used by the platform.
        token: code the tills write into file names and invoice numbers (UK, not GB).
        first_store: number of the first of its five shops.
        volume: order lines relative to the average market.
        price_level: local price of an article that costs one US dollar at home.
        names: words people are called by, in the order written (family name first in China).
        mail_names: the same words as spelt in e-mail addresses.
        phones: (prefix, separator, separator, suffix) around blocks of 3, 3 and 4 digits.
        partner_source_id: partner files carry the newer seventh column.
        partner_header: partner files start with a header line.
    """

    code: str
    token: str
    name: str
    currency: str
    symbol: str
    first_store: int
    volume: float
    price_level: float
    shops: tuple[Shop, ...]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    mail_names: tuple[tuple[str, ...], tuple[str, ...]]
    phones: tuple[tuple[str, str, str, str], ...]
    partner_source_id: bool
    partner_header: bool


_EUR, _USD, _GBP, _CNY = 44.5 / 51, 1.0, 27 / 51, 380 / 51
_ANY_PHONE = (("", ".", ".", "x981"), ("001-", "-", "-", "x6654"), ("1", "", "", ""))


def _shops(*rows: tuple[str, str, float, float], associates: tuple[int, ...]) -> tuple[Shop, ...]:
    return tuple(Shop(*row, count) for row, count in zip(rows, associates, strict=True))


MARKETS: dict[str, Market] = {
    market.code: market
    for market in (
        Market(
            "US", "US", "United States", "USD", "$", 1, 1.77, _USD,
            _shops(
                ("New York", "10001", 40.7128, -74.006), ("Los Angeles", "90001", 34.0522, -118.2437),
                ("Chicago", "60601", 41.8781, -87.6298), ("Houston", "77001", 29.7604, -95.3698),
                ("Phoenix", "85001", 33.4484, -112.074), associates=(7, 8, 9, 6, 8),
            ),
            (("Tyler", "Joshua", "Alison", "Teresa", "Heather", "Marcus", "Amy", "Kevin"),
             ("Garcia", "Miller", "O'Neal", "Johnson", "Lee", "Walker", "Hughes", "Flores")),
            (("tyler", "joshua", "alison", "teresa", "heather", "marcus", "amy", "kevin"),
             ("garcia", "miller", "oneal", "johnson", "lee", "walker", "hughes", "flores")),
            (("(", ")", "-", ""), *_ANY_PHONE), True, True,
        ),
        Market(
            "CN", "CN", "中国", "CNY", "¥", 6, 1.71, _CNY,
            _shops(
                ("上海", "200000", 31.2304, 121.4737), ("北京", "100000", 39.9042, 116.4074),
                ("广州", "510000", 23.1291, 113.2644), ("深圳", "518000", 22.5431, 114.0579),
                ("重庆", "400000", 29.4316, 106.9123), associates=(7, 8, 9, 6, 8),
            ),
            (("王", "李", "张", "刘", "陈", "杨", "赵", "黄"),
             ("伟", "芳", "秀英", "敏", "静", "丽", "强", "磊")),
            (("wang", "li", "zhang", "liu", "chen", "yang", "zhao", "huang"),
             ("wei", "fang", "xiuying", "min", "jing", "li", "qiang", "lei")),
            (("1", "", "", ""), ("+86 ", " ", " ", "")), True, False,
        ),
        Market(
            "DE", "DE", "Deutschland", "EUR", "€", 11, 0.81, _EUR,
            _shops(
                ("Berlin", "10115", 52.52, 13.405), ("Hamburg", "20095", 53.5511, 9.9937),
                ("München", "80331", 48.1351, 11.582), ("Köln", "50667", 50.9375, 6.9603),
                ("Frankfurt am Main", "60311", 50.1109, 8.6821), associates=(7, 8, 9, 6, 8),
            ),
            (("Jürgen", "Ursula", "Käthe", "Wolfgang", "Annelie", "Götz", "Heinz", "Ingrid"),
             ("Müller", "Schäfer", "Weiß", "Hölzenbecher", "Krause", "Vogt", "Dörr", "Lange")),
            (("juergen", "ursula", "kaethe", "wolfgang", "annelie", "goetz", "heinz", "ingrid"),
             ("mueller", "schaefer", "weiss", "hoelzenbecher", "krause", "vogt", "doerr", "lange")),
            (("+49(0) ", "", "", ""), ("0", " ", "", "")), False, True,
        ),
        Market(
            "GB", "UK", "United Kingdom", "GBP", "£", 16, 0.78, _GBP,
            _shops(
                ("London", "EC2P 2E", 51.5074, -0.1278), ("Birmingham", "B1 1AA", 52.4862, -1.8904),
                ("Glasgow", "G1 1XQ", 55.8642, -4.2518), ("Liverpool", "L1 0AA", 53.4084, -2.9916),
                ("Bristol", "BS1 1AA", 51.4545, -2.5879), associates=(7, 8, 9, 6, 8),
            ),
            (("Gemma", "Nigel", "Hollie", "Graham", "Abigail", "Declan", "Maureen", "Craig"),
             ("Taylor", "Evans", "Patel", "Wright", "Macdonald", "Hill", "Bentley", "Shaw")),
            (("gemma", "nigel", "hollie", "graham", "abigail", "declan", "maureen", "craig"),
             ("taylor", "evans", "patel", "wright", "macdonald", "hill", "bentley", "shaw")),
            (("+44", " ", " ", ""), ("(0", ") ", " ", "")), False, True,
        ),
        Market(
            "FR", "FR", "France", "EUR", "€", 21, 0.70, _EUR,
            _shops(
                ("Paris", "75001", 48.8566, 2.3522), ("Marseille", "13001", 43.2965, 5.3698),
                ("Lyon", "69001", 45.764, 4.8357), ("Toulouse", "31000", 43.6047, 1.4442),
                ("Nice", "06000", 43.7102, 7.262), associates=(7, 8, 9, 6, 8),
            ),
            (("Céline", "Étienne", "Margaux", "Gérard", "Zoé", "Lucas", "Agnès", "René"),
             ("Lefèvre", "Dupont", "Le Gall", "Bourgeois", "Périer", "Martin", "Noël", "Girard")),
            (("celine", "etienne", "margaux", "gerard", "zoe", "lucas", "agnes", "rene"),
             ("lefevre", "dupont", "legall", "bourgeois", "perier", "martin", "noel", "girard")),
            (("+33 3 ", " ", " ", ""), ("0", " ", " ", "")), True, False,
        ),
        Market(
            "ES", "ES", "España", "EUR", "€", 26, 0.62, _EUR,
            _shops(
                ("Madrid", "28001", 40.4168, -3.7038), ("Barcelona", "08001", 41.3851, 2.1734),
                ("Valencia", "46001", 39.4699, -0.3763), ("Sevilla", "41001", 37.3891, -5.9845),
                ("Zaragoza", "50001", 41.6488, -0.8891), associates=(7, 8, 8, 6, 8),
            ),
            (("Íñigo", "Begoña", "José", "Lucía", "Álvaro", "Marta", "Rocío", "Pablo"),
             ("Núñez", "Ibáñez", "García", "Peña", "Roldán", "Sáez", "Vidal", "Moreno")),
            (("inigo", "begona", "jose", "lucia", "alvaro", "marta", "rocio", "pablo"),
             ("nunez", "ibanez", "garcia", "pena", "roldan", "saez", "vidal", "moreno")),
            (("+34 ", " ", " ", ""), ("+34", "", "", "")), False, True,
        ),
        Market(
            "PT", "PT", "Portugal", "EUR", "€", 31, 0.63, _EUR,
            _shops(
                ("Lisboa", "1000-001", 38.7223, -9.1393), ("Porto", "4000-001", 41.1579, -8.6291),
                ("Braga", "4700-001", 41.5454, -8.4265), ("Guimarães", "4800-001", 41.4425, -8.2918),
                ("Coimbra", "3000-001", 40.2033, -8.4103), associates=(7, 8, 8, 6, 8),
            ),
            (("João", "Inês", "Tomás", "Beatriz", "Simão", "Leonor", "Vitória", "Rui"),
             ("Gonçalves", "Simões", "Araújo", "Pinto", "Brandão", "Matos", "Sá", "Teixeira")),
            (("joao", "ines", "tomas", "beatriz", "simao", "leonor", "vitoria", "rui"),
             ("goncalves", "simoes", "araujo", "pinto", "brandao", "matos", "sa", "teixeira")),
            (("(351) ", " ", " ", ""), ("+351", " ", " ", "")), False, False,
        ),
    )
}  # fmt: skip

STORE_SHARE = (0.28, 0.22, 0.20, 0.16, 0.14)
OTHER_POSITIONS = ("Store Manager", "Assistant Manager", "Cashier", "Stock Clerk")

CUSTOMER_SLOTS = (
    "US CN DE US CN GB US CN FR US CN DE PT US CN GB ES US CN FR US CN DE PT GB ES FR ES"
)
"""Home markets of 28 consecutive customer numbers; the pattern repeats."""


@dataclass(frozen=True)
class ArticleGroup:
    """One category and sub category; 690 articles each in the full range.

    Attributes:
        price: typical price in US dollars.
        share: relative popularity of one of its articles.
        sizes: size runs its articles come in.
        words: what it is called in PT, DE, FR, ES, EN and ZH.
    """

    category: str
    sub_category: str
    price: float
    share: int
    sizes: tuple[str, ...]
    words: tuple[str, str, str, str, str, str]


_LETTERS = ("S|M|L|XL", "S|M|L|XL|XXL", "XS|S|M|L|XL")
_WOMEN = ("36|38|40|42|44|46", "34|36|38|40|42|44")
_MEN = ("38|40|42|44|46|48", "44|46|48|50|52|54")
_KIDS = ("P|M|G|GG", "P|M|G")
LANGUAGES = ("PT", "DE", "FR", "ES", "EN", "ZH")

ARTICLE_GROUPS: tuple[ArticleGroup, ...] = (
    ArticleGroup(FEMININE, "Accessories", 24, 2, ("",), ("Lenço", "Schal", "Foulard", "Pañuelo", "Scarf", "围巾")),
    ArticleGroup(FEMININE, "Coats and Blazers", 104, 4, _LETTERS, ("Casaco", "Mantel", "Manteau", "Abrigo", "Coat", "大衣")),
    ArticleGroup(FEMININE, "Dresses and Jumpsuits", 73, 4, _LETTERS, ("Vestido", "Kleid", "Robe", "Vestido", "Dress", "连衣裙")),
    ArticleGroup(FEMININE, "Lingerie and Pajamas", 37, 4, _LETTERS, ("Pijama", "Schlafanzug", "Pyjama", "Pijama", "Pajamas", "睡衣")),
    ArticleGroup(FEMININE, "Pants and Jeans", 58, 4, _WOMEN, ("Calça", "Hose", "Pantalon", "Pantalón", "Trousers", "长裤")),
    ArticleGroup(FEMININE, "Shirts and Blouses", 46, 4, _LETTERS, ("Blusa", "Bluse", "Chemisier", "Blusa", "Blouse", "衬衫")),
    ArticleGroup(FEMININE, "Skirts and Shorts", 44, 4, _WOMEN, ("Saia", "Rock", "Jupe", "Falda", "Skirt", "短裙")),
    ArticleGroup(FEMININE, "Sportswear", 51, 4, _LETTERS, ("Legging", "Leggings", "Legging", "Mallas", "Leggings", "运动裤")),
    ArticleGroup(FEMININE, "Suits and Sets", 97, 4, _WOMEN, ("Conjunto", "Kostüm", "Tailleur", "Conjunto", "Suit", "套装")),
    ArticleGroup(FEMININE, "Sweaters and Knitwear", 59, 4, _LETTERS, ("Malha", "Strickjacke", "Gilet", "Jersey", "Cardigan", "针织衫")),
    ArticleGroup(FEMININE, "T-shirts and Tops", 29, 4, _LETTERS, ("Camiseta", "Top", "Haut", "Camiseta", "Top", "上衣")),
    ArticleGroup(MASCULINE, "Accessories", 26, 2, ("",), ("Cinto", "Gürtel", "Ceinture", "Cinturón", "Belt", "腰带")),
    ArticleGroup(MASCULINE, "Coats and Blazers", 108, 4, _LETTERS, ("Sobretudo", "Jacke", "Veste", "Chaqueta", "Jacket", "外套")),
    ArticleGroup(MASCULINE, "Pants and Jeans", 62, 4, _MEN, ("Jeans", "Jeans", "Jean", "Vaquero", "Jeans", "牛仔裤")),
    ArticleGroup(MASCULINE, "Shirts", 52, 4, _LETTERS, ("Camisa", "Hemd", "Chemise", "Camisa", "Shirt", "男衬衫")),
    ArticleGroup(MASCULINE, "Sportswear", 53, 4, _LETTERS, ("Agasalho", "Trainingsanzug", "Survêtement", "Chándal", "Tracksuit", "运动服")),
    ArticleGroup(MASCULINE, "Suits and Blazers", 115, 4, _MEN, ("Fato", "Anzug", "Costume", "Traje", "Suit", "西装")),
    ArticleGroup(MASCULINE, "Sweaters and Sweatshirts", 57, 4, _LETTERS, ("Suéter", "Pullover", "Pull", "Suéter", "Sweater", "毛衣")),
    ArticleGroup(MASCULINE, "T-shirts and Polos", 32, 4, _LETTERS, ("Polo", "Poloshirt", "Polo", "Polo", "Polo shirt", "马球衫")),
    ArticleGroup(MASCULINE, "Underwear and Pajamas", 27, 4, _LETTERS, ("Cueca", "Unterhose", "Caleçon", "Calzoncillo", "Boxers", "内裤")),
    ArticleGroup(CHILDREN, "Accessories", 15, 1, ("",), ("Gorro", "Mütze", "Bonnet", "Gorro", "Hat", "帽子")),
    ArticleGroup(CHILDREN, "Baby (0-12 months)", 25, 2, _KIDS, ("Macacão", "Strampler", "Grenouillère", "Pelele", "Romper", "连体衣")),
    ArticleGroup(CHILDREN, "Coats", 54, 2, _KIDS, ("Casaquinho", "Kindermantel", "Caban", "Abriguito", "Kids coat", "童装大衣")),
    ArticleGroup(CHILDREN, "Girl and Boy (1-5 years, 6-14 years)", 33, 2, _KIDS, ("Jardineira", "Latzhose", "Salopette", "Peto", "Dungarees", "背带裤")),
    ArticleGroup(CHILDREN, "Pajamas", 27, 2, _KIDS, ("Pijaminha", "Kinderpyjama", "Pyjama enfant", "Pijama infantil", "Kids pajamas", "儿童睡衣")),
    ArticleGroup(CHILDREN, "Sweaters", 36, 2, _KIDS, ("Camisola", "Kinderpulli", "Tricot", "Jersey infantil", "Kids sweater", "童装毛衣")),
)  # fmt: skip

MATERIALS: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("algodão macio", "weicher Baumwolle", "coton doux", "algodón suave", "soft cotton", "柔软棉质"),
    ("lã merino", "Merinowolle", "laine mérinos", "lana merino", "merino wool", "美利奴羊毛"),
    ("linho leve", "leichtem Leinen", "lin léger", "lino ligero", "light linen", "轻薄亚麻"),
    ("poliéster reciclado", "recyceltem Polyester", "polyester recyclé", "poliéster reciclado",
     "recycled polyester", "再生聚酯"),
    ("veludo cotelê", "Cord", "velours côtelé", "pana", "corduroy", "灯芯绒"),
    ("seda estampada", "bedruckter Seide", "soie imprimée", "seda estampada", "printed silk",
     "印花真丝"),
)  # fmt: skip
DESCRIPTIONS = ("{0} em {1}", "{0} aus {1}", "{0} en {1}", "{0} de {1}", "{0} in {1}", "{1}{0}")
"""One pattern per language: article word, material."""

COLORS = (
    "BLUE", "TURQUOISE", "YELLOW", "BLACK", "WHITE", "SILVER", "NEUTRAL", "RED",
    "LILAC", "MUSTARD", "GREEN", "PINK", "BEIGE", "GOLD", "BURGUNDY",
)  # fmt: skip
COLORED_SHARE = 0.306


@dataclass(frozen=True)
class Campaign:
    """A yearly promotion.

    Attributes:
        start, end: first and last (month, day).
        percent: taken off the price.
        groups: (category, sub category); empty means everything.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    percent: int
    description: str
    groups: tuple[tuple[str, str], ...] = ()

    def window(self, year: int) -> tuple[date, date]:
        """First and last day in a year."""
        return date(year, *self.start), date(year, *self.end)

    def covers(self, group: ArticleGroup) -> bool:
        """Whether articles of the group are reduced."""
        return not self.groups or (group.category, group.sub_category) in self.groups


def _groups(category: str, *sub_categories: str) -> tuple[tuple[str, str], ...]:
    return tuple((category, name) for name in sub_categories)


CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign(
        (1, 1), (1, 10), 40, "40% discount during our Winter Sale",
        _groups(FEMININE, "Coats and Blazers", "Sweaters and Knitwear")
        + _groups(MASCULINE, "Coats and Blazers", "Sweaters and Sweatshirts")
        + _groups(CHILDREN, "Coats", "Sweaters"),
    ),
    Campaign(
        (3, 15), (3, 31), 35, "35% discount during our Spring Collection",
        _groups(FEMININE, "Dresses and Jumpsuits", "Shirts and Blouses", "Skirts and Shorts")
        + _groups(MASCULINE, "Shirts", "T-shirts and Polos"),
    ),
    Campaign(
        (5, 1), (5, 15), 25, "25% discount during our Early Summer Days",
        _groups(FEMININE, "Accessories", "Lingerie and Pajamas", "Sportswear", "T-shirts and Tops")
        + _groups(MASCULINE, "Accessories", "Sportswear", "Underwear and Pajamas"),
    ),
    Campaign(
        (9, 1), (9, 15), 45, "45% discount during our Back to School",
        _groups(FEMININE, "Pants and Jeans", "T-shirts and Tops")
        + _groups(MASCULINE, "Pants and Jeans", "T-shirts and Polos")
        + _groups(CHILDREN, "Girl and Boy (1-5 years, 6-14 years)", "Pajamas", "Sweaters"),
    ),
    Campaign(
        (10, 1), (10, 10), 20, "20% discount during our Autumn Collection",
        _groups(FEMININE, "Coats and Blazers", "Suits and Sets", "Sweaters and Knitwear")
        + _groups(MASCULINE, "Suits and Blazers", "Sweaters and Sweatshirts")
        + _groups(CHILDREN, "Baby (0-12 months)", "Coats"),
    ),
    Campaign((11, 27), (11, 27), 60, "60% discount during our Black Friday"),
    Campaign((12, 20), (12, 31), 50, "50% discount during our Christmas Sale"),
)  # fmt: skip
FIRST_CAMPAIGN_YEAR = 2020

MONTH_FACTOR = (0.62, 0.68, 1.05, 0.85, 0.92, 0.82, 0.80, 0.78, 1.22, 1.05, 1.11, 2.10)
WEEKDAY_FACTOR = (0.85, 0.85, 0.90, 0.95, 1.15, 1.35, 0.95)
"""Monday first; like the month factors they average to one."""
LINES_PER_INVOICE = (0.795, 0.10, 0.06, 0.025, 0.01, 0.005, 0.005)
"""Share of invoices with 1, 2, ... lines: 1.39 on average."""
QUANTITY = (0.93, 0.05, 0.02)
OPENING_HOURS = ((0.0, 9.0), (0.15, 12.0), (0.35, 14.0), (0.60, 17.0), (0.90, 19.5), (1.0, 21.0))
"""(share of the day's invoices, local hour by which they are rung up)."""

FX_BASE = {"CNY": (7.8, 4), "GBP": (0.85, 5), "USD": (1.08, 4)}
"""Units of the currency for one euro, and decimals quoted."""

GENDERS, GENDER_SHARE = ("F", "M", "D"), (0.55, 0.43, 0.02)
TITLES = ("Dr. ", "Mrs. ", "Prof. ")
SUFFIXES = (" DVM", " B.Eng.", " Jr.", " MD")
MAIL_DOMAINS = ("fake_gmail.com", "fake_hotmail.com", "fake_yahoo.com")
JOB_TITLES = (
    "Engineer, civil (consulting)", "Nurse, adult", "Teacher, primary school", "Data scientist",
    "Chartered accountant", "Graphic designer", "Solicitor", "Chef", "Architect", "Journalist",
    "Pharmacist, hospital", "Electrician", "Sales executive", "Librarian, academic",
)  # fmt: skip
JOBLESS_SHARE = 0.355

SUPPLIER_NAMES = ("Atlas", "Boreal", "Cardo", "Dunes", "Estrela", "Fjord", "Gingko", "Harbour")
SUPPLIER_HOMES = (("PT", "EUR", 10), ("TR", "USD", 21), ("BD", "USD", 45), ("CN", "CNY", 38))
"""Country a supplier ships from, currency of its invoices, shortest lead time in days."""
COMPETITORS = ("Nordlys", "Casa Moda", "Brightside")

PARTNER_GROUPS = ("Northwind Fashion", "Atelier Group")
PARTNER_SHOPS = 4
PARTNER_ROLES = ("cashier", "manager", "self_checkout")
PARTNER_SOURCES = ("POS1", "POS2", "APP")


def stores(markets: Sequence[Market]) -> pl.DataFrame:
    """The stores feed of some markets."""
    return pl.DataFrame(
        [
            {
                "Store ID": market.first_store + i,
                "Country": market.name,
                "City": shop.city,
                "Store Name": f"Store {shop.city}",
                # Three fewer than the employees feed has, in every shop of the original data.
                "Number of Employees": shop.associates + len(OTHER_POSITIONS) - 3,
                "ZIP Code": shop.zip_code,
                "Latitude": shop.latitude,
                "Longitude": shop.longitude,
            }
            for market in markets
            for i, shop in enumerate(market.shops)
        ]
    )


def discounts(until: date) -> pl.DataFrame:
    """The discounts feed: windows starting no later than a day."""
    rows = [
        (*campaign.window(year), campaign.percent / 100, campaign.description, *group)
        for year in range(FIRST_CAMPAIGN_YEAR, until.year + 1)
        for campaign in CAMPAIGNS
        for group in campaign.groups or ((None, None),)
        if campaign.window(year)[0] <= until
    ]
    schema = ["Start", "End", "Discont", "Description", "Category", "Sub Category"]
    return pl.DataFrame(rows, schema, orient="row")


def partner_stores(market: Market) -> pl.DataFrame:
    """The partner_stores feed of a market."""
    return pl.DataFrame(
        [
            {
                "store_group": PARTNER_GROUPS[i % len(PARTNER_GROUPS)],
                "store_token": f"{market.token}-P{i + 1:02d}",
                "store_name": f"Corner {market.shops[i].city}",
            }
            for i in range(PARTNER_SHOPS)
        ]
    )
