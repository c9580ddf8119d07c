"""Label selectors as Kubernetes writes them: `app=web,tier!=db,env in (dev,test),!old`."""

import re
from collections.abc import Callable, Mapping

from domain.refusals import BadValue

type Selector = Callable[[Mapping[str, str]], bool]

_TERM = re.compile(
    r"\s*(?:"
    r"(?P<absent>!)\s*(?P<without>[^\s=!,()]+)"
    r"|(?P<key>[^\s=!,()]+)\s*(?:"
    r"(?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)"
    r"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r")?)\s*(?:,|$)"
)


def parse(text: str, path: str = "labelSelector") -> Selector:
    """Read a selector; all of its terms must hold.

    Raises:
        BadValue: it is not one.
    """
    terms: list[Selector] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or match.end() == at:
            rule = "write a=b, a!=b, a, !a, a in (b,c) or a notin (b,c), joined by commas"
            raise BadValue(path, text, rule)
        terms.append(_term(match))
        at = match.end()
    return lambda labels: all(term(labels) for term in terms)


def _term(match: re.Match[str]) -> Selector:
    key = match["key"]
    if match["absent"]:
        without = match["without"]
        return lambda labels: without not in labels
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        wanted = match["set"] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if match["op"] is None:
        return lambda labels: key in labels
    value, equal = match["value"], match["op"] != "!="
    return lambda labels: (labels.get(key) == value) == equal
