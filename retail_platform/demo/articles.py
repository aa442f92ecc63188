"""The article range: what is on sale, in which sizes and colours, at what price and cost."""

import numpy as np
import polars as pl

from retail_platform.demo import catalogue
from retail_platform.demo.catalogue import ARTICLE_GROUPS
from retail_platform.demo.chance import (
    Floats,
    Ints,
    Keys,
    Purpose,
    below,
    draw,
    key_of,
    normal,
    unit,
    words_at,
)

SIZE_RUNS = sorted({run for group in ARTICLE_GROUPS for run in group.sizes})
SIZE_WORDS = sorted({word for run in SIZE_RUNS for word in run.split("|")})


class Articles:
    """The article range, one array position per article; position 0 is article number 1."""

    def __init__(self, seed: int, count: int) -> None:
        self.number: Ints = np.arange(1, count + 1)
        self.group: Ints = (self.number - 1) % len(ARTICLE_GROUPS)
        self.groups = [ARTICLE_GROUPS[i] for i in self.group]
        self.key = key_of(seed, Purpose.PRODUCT, self.number)
        choice = below(draw(self.key, 10), np.array([len(g.sizes) for g in self.groups]))
        runs = [g.sizes[i] for g, i in zip(self.groups, choice, strict=True)]
        self.run: Ints = np.array([SIZE_RUNS.index(run) for run in runs])
        self.color = np.where(
            unit(draw(self.key, 11)) < catalogue.COLORED_SHARE,
            below(draw(self.key, 12), len(catalogue.COLORS)),
            len(catalogue.COLORS),
        )
        typical = np.array([g.price for g in self.groups])
        self.dollars: Floats = typical * np.exp(0.35 * normal(self.key))
        # Sales favour the front of this list, so its order must not follow article numbers.
        listed = np.repeat(self.number - 1, [g.share for g in self.groups])
        shuffle = draw(key_of(seed, Purpose.PRODUCT, 0), np.arange(listed.size))
        self.popular: Ints = listed[np.argsort(shuffle, kind="stable")]
        self.sku_heads = [
            f"{g.category[:2]}{g.sub_category[:2]}{n}-".upper()
            for g, n in zip(self.groups, self.number, strict=True)
        ]

    def sizes(self, article: Ints, bits: Keys) -> Ints:
        """One of the sizes of each article, as a position in `SIZE_WORDS`."""
        runs = [[SIZE_WORDS.index(word) for word in run.split("|")] for run in SIZE_RUNS]
        table = np.array([run + [0] * (len(SIZE_WORDS) - len(run)) for run in runs])
        run = self.run[article]
        return table[run, below(bits, np.array([len(run) for run in runs])[run])]

    def frame(self, seed: int, quarter: int) -> pl.DataFrame:
        """The products feed; one article in ten is calculated anew each quarter."""
        material = below(draw(self.key, 13), len(catalogue.MATERIALS))
        texts = {
            f"Description {language}": [
                catalogue.DESCRIPTIONS[i].format(g.words[i], catalogue.MATERIALS[m][i])
                for g, m in zip(self.groups, material, strict=True)
            ]
            for i, language in enumerate(catalogue.LANGUAGES)
        }
        anew = unit(key_of(seed, Purpose.COST, quarter, self.number)) < 0.1
        cost = np.clip(self.dollars * 0.29, 0.56, 77.19) * np.where(anew, 1.04, 1.0)
        return pl.DataFrame(
            {
                "Product ID": self.number,
                "Category": [g.category for g in self.groups],
                "Sub Category": [g.sub_category for g in self.groups],
                **texts,
                "Color": words_at([*catalogue.COLORS, None], self.color),
                "Sizes": words_at([run or None for run in SIZE_RUNS], self.run),
                "Production Cost": np.round(cost, 2),
            }
        )
