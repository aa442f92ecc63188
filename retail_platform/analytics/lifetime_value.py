"""Customer lifetime value out of purchase histories: BG/NBD and Gamma-Gamma, by maximum likelihood.

How often somebody buys and whether he still does is BG/NBD (Fader, Hardie, Lee: "Counting Your
Customers" the Easy Way, Marketing Science 24(2), 2005); how much a purchase is worth is Gamma-Gamma
(Fader, Hardie: The Gamma-Gamma Model of Monetary Value, 2013). Notation is that of the papers: x
repeat purchases, the last of them t_x after the first purchase, which was T ago; time in weeks, z
the mean value of the repeat purchases. Arrays in, arrays out; who the customers are, and where the
numbers come from, is not known here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

WEEKS_PER_YEAR = 365.25 / 7

MIN_REPEAT_BUYERS = 30
"""Four and three parameters are told from customers who came back; of fewer they would be noise."""

MAX_CORRELATION = 0.3
"""Gamma-Gamma takes for granted that how often somebody buys says nothing about how much; beyond
this correlation it would be wrong for exactly the best customers."""

_LIMITS = (1e-3, 1e4)
"""Of every parameter. Where customers do not differ, or nobody leaves, the likelihood grows without
end towards the limit, and the model at the limit says just that."""

_DIGITS = 5
"""Significant digits of parameters. What is predicted is computed from the rounded ones, so it does
not depend on where in the last digits the search came to rest."""

_FLAT = 1e-4
"""Slope, per customer, at which a search that gave up has arrived all the same."""

_CHANCES, _TIMES = 32, 8
"""Nodes of the integrals over the chance to leave and over time. Six digits and more of the closed
form for up to two years ahead, of customers who buy daily for a week even."""


_AT_ONCE = 1_000
"""Customers whose integrals are in memory together, 2.3 kB each."""


class NoEstimate(Exception):
    """The histories do not tell; the message says why."""


@dataclass(frozen=True)
class Histories:
    """Purchases of customers, one entry each.

    Attributes:
        repeats: x, purchases after the first.
        recency: t_x, weeks from the first purchase to the last.
        age: T, weeks from the first purchase to the day the histories end.
        spend: z, mean value of the repeat purchases; anything where there are none.
    """

    repeats: Numbers
    recency: Numbers
    age: Numbers
    spend: Numbers


@dataclass(frozen=True)
class Purchasing:
    """BG/NBD: purchase rates are Gamma(r, alpha), chances to leave after a purchase Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, of: Histories) -> float:
        """Of the whole of the histories."""
        parameters = np.array([self.r, self.alpha, self.a, self.b])
        numbers = np.unique(of.repeats, return_inverse=True)
        value, _ = _purchasing_likelihood(parameters, numbers, of.recency, of.age)
        return float(np.sum(value))

    def probability_alive(self, of: Histories) -> Numbers:
        """That a customer has not left for good; 1 without repeats, as the model has it."""
        x = of.repeats
        log_odds_gone = (
            np.log(self.a)
            - np.log(np.where(x > 0, self.b + x - 1, 1.0))
            + (self.r + x) * (np.log(self.alpha + of.age) - np.log(self.alpha + of.recency))
        )
        return np.where(x > 0, 1 / (1 + np.exp(np.minimum(log_odds_gone, 700))), 1.0)

    def expected_purchases(
        self, of: Histories, weeks: float, yearly_discount: float = 0
    ) -> Numbers:
        """Purchases within the next weeks.

        Args:
            yearly_discount: counts a purchase a year from now as 1 / (1 + this) purchases.
        """
        return self.discounted_purchases(of, weeks, [yearly_discount])[0]

    def discounted_purchases(
        self, of: Histories, weeks: float, yearly_discounts: Sequence[float]
    ) -> Numbers:
        """The same by each of some discounts, one row each, for little more than by one."""
        # Of those who are alive it depends on x and T alone, which many have in common.
        pairs, whose = np.unique(np.column_stack([of.repeats, of.age]), axis=0, return_inverse=True)
        x, age = pairs.T
        nodes, weights = np.polynomial.legendre.leggauss(_TIMES)
        times = np.append(weeks * (nodes + 1) / 2, weeks)
        # by parts: the integral of discount dE is discount E, and the integral of what it loses
        loss = np.log1p(yearly_discounts)[:, np.newaxis] / WEEKS_PER_YEAR
        lost = weights * weeks / 2 * loss
        shares = np.exp(-loss * times) * np.hstack([lost, np.ones_like(loss)])
        counted = shares.any(axis=0)  # without a discount only the last of the times
        purchases = shares[:, counted] @ self._purchases_of_the_living(x, age, times[counted])
        return self.probability_alive(of) * purchases[:, whose.reshape(-1)]

    def _purchases_of_the_living(self, x: Numbers, age: Numbers, times: Numbers) -> Numbers:
        """Mean of (1 - e^(-lambda p t)) / p over what is known of lambda and p, for each time t.

        The papers' closed form has a hypergeometric function, which overflows for parameters at
        their limits, and a pole at a = 1. Over lambda the mean is elementary; over p, which is
        Beta(a, b + x), it is taken by Gauss's rule.

        Numbers that agree in their first three binary digits share the rule of the smallest of
        them; the rest of the density, (1 - p) to the power of what they have more, is in the mean.
        The longer the history, the more numbers there are, but hardly more rules.
        """
        expected = np.empty((len(times), len(age)))
        more = x % 2.0 ** np.maximum(np.frexp(x)[1] - 3, 0)
        for repeats in np.unique(x - more):
            chances, weights = _beta_rule(self.a, self.b + repeats)
            (alike,) = np.nonzero(x - more == repeats)
            for some in np.array_split(alike, 1 + len(alike) // _AT_ONCE):
                density = np.outer(more[some], np.log1p(-chances))
                density = weights * np.exp(density - density.max(axis=1, keepdims=True))
                shares = density / density.sum(axis=1, keepdims=True) / chances
                growth = np.log1p(
                    np.multiply.outer(times, np.outer(1 / (self.alpha + age[some]), chances))
                )
                power = -(self.r + x[some, np.newaxis])
                expected[:, some] = np.sum(-np.expm1(power * growth) * shares, axis=2)
        return expected


@dataclass(frozen=True)
class Spending:
    """Gamma-Gamma: values of a customer are Gamma(p, nu), and nu differs as Gamma(q, v)."""

    p: float
    q: float
    v: float

    def expected_spend(self, of: Histories) -> Numbers:
        """Mean value of a customer's purchases to come: his own, drawn towards that of all."""
        x, z = of.repeats, np.where(of.repeats > 0, of.spend, 0.0)
        return self.p * (self.v + x * z) / (self.p * x + self.q - 1)


def fit_purchasing(of: Histories) -> Purchasing:
    """BG/NBD of the histories.

    Raises:
        NoEstimate: too few customers came back.
    """
    _enough(of)
    # Alike customers count as often as they are; sorted, so that their order does not matter.
    rows = np.column_stack([of.repeats, of.recency, of.age])
    (x, t_x, age), count = _distinct(rows)
    numbers = np.unique(x, return_inverse=True)

    def likelihood(parameters: Numbers) -> tuple[float, Numbers]:
        value, slopes = _purchasing_likelihood(parameters, numbers, t_x, age)
        return float(count @ value), slopes @ count

    start = np.array([1.0, max(float(np.mean(of.age)), 1.0), 1.0, 2.0])
    return Purchasing(*_maximum(likelihood, start, len(rows)))


def fit_spending(of: Histories) -> Spending:
    """Gamma-Gamma of the repeat purchases.

    Raises:
        NoEstimate: too few customers came back, who buys more often spends more or less per
            purchase, or values vary so much that they have no mean.
    """
    _enough(of)
    paid = (of.repeats > 0) & (of.spend > 0)
    if np.count_nonzero(paid) < MIN_REPEAT_BUYERS:
        raise NoEstimate(f"fewer than {MIN_REPEAT_BUYERS} customers paid for a repeat purchase")
    correlation = spend_correlation(of)
    if correlation is not None and abs(correlation) > MAX_CORRELATION:
        raise NoEstimate("value of a purchase depends on how often somebody buys")
    rows = np.column_stack([of.repeats[paid], of.spend[paid]])
    scale = float(np.mean(rows[:, 1]))
    (x, z), count = _distinct(rows / [1.0, scale])

    def likelihood(parameters: Numbers) -> tuple[float, Numbers]:
        value, slopes = _spending_likelihood(parameters, x, z)
        return float(count @ value), slopes @ count

    p, q, v = _maximum(likelihood, np.array([2.0, 3.0, 1.0]), len(rows))
    if q <= 1:
        raise NoEstimate("values of purchases vary so much that they have no mean")
    return Spending(p, q, _rounded(v * scale))


def spend_correlation(of: Histories) -> float | None:
    """Of repeat purchases and their mean value among customers who came back; None of equals."""
    back = of.repeats > 0
    x, z = of.repeats[back], of.spend[back]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(z) == 0:
        return None
    return float(np.corrcoef(x, z)[0, 1])


@dataclass(frozen=True)
class Holdout:
    """How well purchases were told that the model had not seen.

    Attributes:
        mean_absolute_error: purchases per customer.
        total_error_rate: expected / actual purchases of all - 1; None if there were none.
    """

    mean_absolute_error: float
    total_error_rate: float | None


def hold_out(of: Histories, afterwards: Numbers, weeks: float) -> Holdout:
    """Fit to histories that end early, and compare with what came in the weeks after them.

    Args:
        afterwards: purchases in those weeks, one number per customer.

    Raises:
        NoEstimate: too few customers had come back by then.
    """
    expected = fit_purchasing(of).expected_purchases(of, weeks)
    actual = float(np.sum(afterwards))
    return Holdout(
        float(np.mean(np.abs(expected - afterwards))),
        float(np.sum(expected)) / actual - 1 if actual else None,
    )


def _beta_rule(a: float, b: float) -> tuple[Numbers, Numbers]:
    """Nodes and weights of the mean of a function of a Beta(a, b) variable (Golub, Welsch 1969).

    scipy's rule for Jacobi polynomials is the same, but overflows for large a and b.
    """
    from scipy.linalg import eigh_tridiagonal  # noqa: PLC0415

    k = np.arange(1, _CHANCES, dtype=np.float64)
    s = 2 * k + a + b - 2
    diagonal = np.append((a - b) / (a + b), (a - b) * (a + b - 2) / (s * (s + 2)))
    k, s = k[1:], s[1:]
    squared = np.append(
        4 * a * b / ((a + b) ** 2 * (a + b + 1)),
        4 * k * (k + a - 1) * (k + b - 1) * (k + a + b - 2) / (s * s * (s + 1) * (s - 1)),
    )
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(squared))
    # The mean is divided by a node, which may be rounded to zero, and has the logarithm of what it
    # lacks to one; by then it is at its limit.
    return np.clip((nodes + 1) / 2, 1e-15, 1 - 1e-15), vectors[0] ** 2


def _enough(of: Histories) -> None:
    if np.count_nonzero(of.repeats > 0) < MIN_REPEAT_BUYERS:
        raise NoEstimate(f"fewer than {MIN_REPEAT_BUYERS} customers came back")


def _distinct(rows: Numbers) -> tuple[tuple[Numbers, ...], Numbers]:
    """Columns of the distinct rows in ascending order, and how often each is there."""
    distinct, count = np.unique(rows, axis=0, return_counts=True)
    return tuple(distinct.T), count.astype(np.float64)


def _maximum(
    likelihood: Callable[[Numbers], tuple[float, Numbers]], start: Numbers, customers: int
) -> list[float]:
    """Parameters, all of them positive, at which a log-likelihood is greatest.

    Args:
        likelihood: value and slopes, one per parameter.
        customers: whom it is a sum over.
    """
    from scipy.optimize import minimize  # noqa: PLC0415

    def loss(logarithms: Numbers) -> tuple[float, Numbers]:
        parameters = np.exp(logarithms)
        value, slopes = likelihood(parameters)
        return -value / customers, -slopes * parameters / customers

    limits = [tuple(np.log(_LIMITS))] * len(start)
    found = minimize(
        loss,
        np.log(start),
        jac=True,
        # L-BFGS-B comes to the same, but its linear algebra starts threads for a few numbers: where
        # cores are busy it takes twenty times as long.
        method="SLSQP",
        bounds=limits,
        options={"ftol": 1e-15, "maxiter": 1_000},
    )
    # At the limit of doubles the search gives up rather than ends.
    _, slope = loss(found.x)
    arrived = np.clip(found.x - slope, *np.log(_LIMITS)) - found.x
    if not np.all(np.abs(arrived) < _FLAT):
        raise NoEstimate("the likelihood has no maximum that could be found")
    return [_rounded(float(parameter)) for parameter in np.exp(found.x)]


def _rounded(parameter: float) -> float:
    return float(f"{parameter:.{_DIGITS}g}")


def _purchasing_likelihood(
    parameters: Numbers, numbers: tuple[Numbers, NDArray[np.intp]], t_x: Numbers, age: Numbers
) -> tuple[Numbers, Numbers]:
    """Log-likelihood of each customer and its slopes, in logarithms throughout (BG/NBD note).

    Args:
        numbers: the distinct x, and which of them each customer has.
    """
    from scipy.special import digamma, gammaln  # noqa: PLC0415

    r, alpha, a, b = parameters
    each, whose = numbers
    x = each[whose]
    # Functions of x alone once for each x, since they take longer than all the rest.
    of_x = (gammaln(r + each) + gammaln(b + each) - gammaln(a + b + each))[whose]
    of_none = gammaln(r) + gammaln(b) - gammaln(a + b)
    rises, stays = digamma(r + each) - digamma(r), digamma(b + each) - digamma(b)
    both = digamma(a + b + each) - digamma(a + b)
    back = x > 0
    # b + x - 1 is positive where it counts; elsewhere any positive number will do
    survived = np.where(back, b + x - 1, 1.0)
    log_age, log_recency = np.log(alpha + age), np.log(alpha + t_x)
    alive = -(r + x) * log_age
    gone = np.where(back, np.log(a) - np.log(survived) - (r + x) * log_recency, -np.inf)
    either = np.logaddexp(alive, gone)
    w_alive, w_gone = np.exp(alive - either), np.exp(gone - either)
    slopes = np.stack([
        rises[whose] + np.log(alpha) - w_alive * log_age - w_gone * log_recency,
        r / alpha - (r + x) * (w_alive / (alpha + age) + w_gone / (alpha + t_x)),
        w_gone / a - both[whose],
        stays[whose] - both[whose] - w_gone / survived,
    ])  # fmt: skip
    return of_x - of_none + r * np.log(alpha) + either, slopes


def _spending_likelihood(parameters: Numbers, x: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
    """Log-likelihood of each customer's mean value and its slopes."""
    from scipy.special import digamma, gammaln  # noqa: PLC0415

    p, q, v = parameters
    total = x * z + v
    value = (
        gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v)
        + (p * x - 1) * np.log(z) + p * x * np.log(x) - (p * x + q) * np.log(total)
    )  # fmt: skip
    slopes = np.stack([
        x * (digamma(p * x + q) - digamma(p * x) + np.log(x * z) - np.log(total)),
        digamma(p * x + q) - digamma(q) + np.log(v) - np.log(total),
        q / v - (p * x + q) / total,
    ])  # fmt: skip
    return value, slopes
