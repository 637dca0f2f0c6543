"""The built book: no other hosts, no dead links, alt text everywhere, and a page as a browser shows it.

It is built from the outputs that are stored in the notebooks, those of scale laptop; nbval, the second half of
`make test`, runs copies of them at scale tiny.
"""

import importlib.util
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import axe_core_python.base
import browser
import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

from book.build import build
from book.execute import execution_of, runs_of, source_hash
from ganseg.ledger import Ledger

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
LOOK = axe_core_python.base.AXE_FILE_PATH.read_text() + (ROOT / "tests" / "look.js").read_text()
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Page:
    """What a page loads, links to and names."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, path.read_text(encoding="utf-8")
        self.soup = soup = BeautifulSoup(self.text, "html.parser")
        self.loads = [tag[name] for kind, name in LOADS.items() for tag in soup.find_all(kind, **{name: True})]
        self.links = [tag["href"] for tag in soup.find_all("a", href=True)]
        self.names = {tag.get(name) for name in ("id", "name") for tag in soup.find_all(attrs={name: True})}
        self.images = soup.find_all("img")


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the book's pages; every warning of jupyter-book has failed the build."""
    output = tmp_path_factory.mktemp("book")
    return build(output, output / "no-results", root=ROOT)


@pytest.fixture(scope="session")
def pages(html: Path) -> dict[Path, Page]:
    own = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    return {path.resolve(): Page(path.resolve()) for path in own}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_stored_as_executed_on_the_committed_runs_without_errors(name: str, committed: Path) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs, f"{name} is stored without outputs: run `make notebooks`"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    execution = execution_of(notebook)
    assert execution.get("source") == source_hash(notebook), f"{name} is stale: run `make notebooks`"
    assert execution["parameters"] == {"scale": "laptop", "data": "synthetic-bird", "seed": 0}
    read = runs_of(path, execution["parameters"] | {"results_dir": str(committed)})
    assert execution.get("runs") == read, f"{name} shows other runs: run `make notebooks`"
    origins = re.findall(r'ganseg-provenance\\?">([^<]*)', path.read_text())
    told = "".join(line for line in origins if not line.startswith("Scale tiny"))
    shown = set(re.findall(r"\b[0-9a-f]{8}\b", told))
    assert shown <= {run.rpartition("-")[2] for run in read}, f"{name} finds more runs than its metadata says"


def test_every_notebook_is_a_page_with_its_scale(pages: dict[Path, Page]) -> None:
    named = {path.stem: page for path, page in pages.items() if path.parent.name == "notebooks"}
    assert sorted(named) == NOTEBOOKS
    assert all("Measured at scale laptop" in page.text for page in named.values())


def test_pages_and_style_sheets_load_nothing_from_other_hosts(pages: dict[Path, Page], html: Path) -> None:
    foreign = {(path.name, url) for path, page in pages.items() for url in page.loads if urlparse(url).netloc}
    assert not foreign
    code = "\n".join(page.text for page in pages.values())
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", code, re.DOTALL)
    assert not [script for script in scripts if re.search(r"(import|src\s*=|fetch\().{0,20}https?:", script)]
    loads = re.compile(r"(@import|url\()\s*['\"]?(https?:)?//")
    assert not [path.name for path in html.rglob("*.css") if loads.search(path.read_text(errors="replace"))]


def test_without_shipped_models_no_page_has_a_live_figure_or_its_scripts(pages: dict[Path, Page]) -> None:
    assert not [path.name for path, page in pages.items() if re.search(r"ganseg-live|live/\w+\.js|\{live\}", page.text)]


def test_every_inner_link_and_file_resolves(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for url in page.loads + page.links:
            parts = urlparse(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].names):
                broken.append((path.name, url))
    assert not broken


def test_every_picture_says_what_it_shows(pages: dict[Path, Page]) -> None:
    shown = [(path.name, (image.get("alt") or "").strip()) for path, page in pages.items() for image in page.images]
    assert shown and not [(name, alt) for name, alt in shown if len(alt) < 8 or alt.endswith((".png", ".svg"))]


def test_what_a_page_shows_is_what_is_typed(pages: dict[Path, Page]) -> None:
    """No option has lost its dashes, no macro of a formula is printed as text, no module has gone."""
    spoilt, module = re.compile(r"[\s(‘]–[a-z]{3,}|\\text\{[^}]*\\_"), re.compile(r"python -m ((?:book|ganseg)[\w.]*)")
    texts = {path.name: re.sub(r"<[^>]+>", "", page.text) for path, page in pages.items()}
    assert not {(name, found) for name, text in texts.items() for found in spoilt.findall(text)}
    modules = {name for text in texts.values() for name in module.findall(text)}
    assert modules and all(importlib.util.find_spec(name) for name in modules)


def test_the_reference_shows_the_fields_of_classes_and_the_formulas_of_functions(html: Path) -> None:
    text = unescape(re.sub(r"(?s)<pre>.*?</pre>|<[^>]+>", "", (html / "api.html").read_text()))
    assert "points: Tensor: x_k^i, (B, K, n_per, 2)" in text
    assert "Eq. 4: heatmaps 𝐇k(𝐩)=exp\N{FUNCTION APPLICATION}(" in text
    assert "Alias for field number" not in text and "`" not in text


def test_every_figure_and_table_has_a_caption_its_data_and_its_provenance(pages: dict[Path, Page]) -> None:
    origin, seen = re.compile(r"Scales? \w+(, \w+)*; data |Computed by this page"), 0
    for page in pages.values():
        for shown in page.soup.select(".ganseg-figure, .ganseg-table"):
            caption = shown.find(["caption", "figcaption"])
            below = caption if shown.name == "figure" else shown.find_next(class_="ganseg-below")
            where = (page.path.name, caption.get_text()[:80])
            assert len(caption.find(string=True).split()) >= 3, where
            assert below.find("a", download=True)["href"].startswith("data:text/csv;base64,"), where
            assert origin.match(below.find(class_="ganseg-provenance").get_text()), where
            seen += 1
    assert seen > 2 * len(NOTEBOOKS)


def test_no_page_shows_an_error_or_a_path_of_this_machine(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        assert not re.search(rf"Traceback \(most recent call last\)|{re.escape(str(ROOT))}", page.text), page.path.name


# ---- in a browser


@pytest.fixture(scope="module")
def looks(html: Path, pages: dict[Path, Page], tab: browser.Page) -> dict[str, dict[str, Any]]:
    """Of every page: bytes before it is used, faults of axe in light and dark, width on a phone, what paper cuts."""
    fonts = [html / "_static" / "mathematics.woff2", *html.rglob("fa-solid-900.woff2")]
    found: dict[str, dict[str, Any]] = {}
    for path in (path for path in pages if path.name != "index.html"):  # which only leads on
        tab.open(path.as_uri())
        tab.script(LOOK)
        files = [Path(unquote(urlparse(url).path)) for url in tab.script("look.loaded()") if url.startswith("file:")]
        seen = found[path.stem] = {"weight": sum(file.stat().st_size for file in {*files, *fonts})}
        seen["faults"] = tab.script("look.faults()")
        for theme in ("dark", "light"):
            tab.script(f"look.wear('{theme}')")
            seen["faults"] += [f"{theme} {text}" for text in tab.script("look.faint()")]
        tab.resize(390)
        seen["width"] = tab.script("document.documentElement.scrollWidth")
        tab.resize(700)  # A4 between its margins
        tab.call("Emulation.setEmulatedMedia", media="print")
        seen["cut"] = tab.script("look.cut()")
    return found


@pytest.mark.parametrize(("what", "most"), [("weight", 2e6), ("faults", []), ("width", 390), ("cut", [])])
def test_no_page_is_heavy_faulty_wider_than_a_phone_or_cut_on_paper(looks, what: str, most: Any) -> None:
    assert min(look["weight"] for look in looks.values()) > 5e5
    assert not {name: look[what] for name, look in looks.items() if look[what] > most}


def test_text_fainter_than_axe_allows_is_found_in_either_theme(html: Path, tab: browser.Page) -> None:
    tab.open((html / "glossary.html").as_uri())
    tab.script(LOOK)
    words = "".join(f"<b style=color:{colour}>{colour}</b> " for colour in ("#888", "#ccc", "#444"))
    tab.script(f"document.querySelector('article').innerHTML += '<p>{words}'")
    axe = "axe.run('article', { runOnly: 'color-contrast' })"
    axe += ".then(({ violations }) => violations.flatMap(({ nodes }) => nodes.map(({ html }) => html)))"
    for theme, faint in (("light", ["#888", "#ccc"]), ("dark", ["#444"])):
        tab.script(f"look.wear('{theme}')")
        assert [text.split()[1] for text in tab.script("look.faint()")] == faint
        assert [html.split(">")[1].split("<")[0] for html in tab.script(axe)] == faint


def test_formulas_and_the_contents_need_no_script(html: Path, tab: browser.Page) -> None:
    tab.open((html / "glossary.html").as_uri(), scripts=False)
    formulas = tab.script("[...document.querySelectorAll('math')].map(e => [e.textContent, e.clientWidth])")
    assert len(formulas) > 20 and all("\\" not in text and width for text, width in formulas)
    assert "notebooks/" in tab.script("document.querySelector('nav.bd-links').innerHTML")


@pytest.mark.parametrize(
    ("query", "page"),
    [("table 2", "14_table2"), ("Table 3", "15_table3"), ("0.426", "14_table2"), ("23,726,721", "30_paper_vs_code")],
)
def test_the_search_finds_tables_and_numbers(html: Path, tab: browser.Page, query: str, page: str) -> None:
    tab.open(f"{(html / 'search.html').as_uri()}?q={query.replace(' ', '+')}")
    found = tab.until("document.querySelector('#search-results li a')?.href")
    assert page in found


def test_a_figure_opens_enlarged_and_closes(html: Path, tab: browser.Page) -> None:
    tab.open((html / "notebooks" / "05_objective.html").as_uri())
    tab.script("document.querySelector('.ganseg-figure .ganseg-enlarge').click()")
    width = tab.until("document.querySelector('dialog[open] img')?.clientWidth")
    assert width > tab.script("document.querySelector('.ganseg-figure img').clientWidth")
    tab.script("document.querySelector('dialog button').click()")
    tab.until("!document.querySelector('dialog[open]')")


def test_models_seeds_and_steps_are_chosen_and_every_choice_has_its_picture(html: Path, tab: browser.Page) -> None:
    tab.open((html / "notebooks" / "25_ablations.html").as_uri())
    seen = "(place => [place.querySelector('img').src, place.querySelector('figcaption').innerText])"
    seen = f"{seen}(document.querySelector('.ganseg-explorer > figure'))"
    choose = "((name, i) => { const input = document.querySelectorAll('.ganseg-choices :is(select, input)')[name]; "
    choose += "input[input.type === 'range' ? 'value' : 'selectedIndex'] = i; input.oninput(); return input.disabled })"
    pictures = [tab.script(seen)]
    assert pictures[0][1].startswith("full model, λcon 10, seed 0: generated after 2000 of 2000 steps")
    models = tab.script("document.querySelector('.ganseg-choices select').length")
    tab.script(f"{choose}(2, 5)")  # a seed that has earlier steps
    pulls = tab.script("document.querySelectorAll('.ganseg-choices select')[1].length")
    assert models == 7 and pulls > 3
    for pull in range(pulls):
        tab.script(f"{choose}(1, {pull})")
        pictures.append(tab.script(seen))
    steps = tab.script("document.querySelector('.ganseg-choices input').max")
    for step in range(int(steps) + 1):
        assert not tab.script(f"{choose}(3, {step})")
        pictures.append(tab.script(seen))
    assert len({tuple(one) for one in pictures}) >= pulls + int(steps)


def test_the_ledger_has_a_card_a_claim_and_shows_those_of_one_verdict_alone(html: Path, tab: browser.Page) -> None:
    tab.open((html / "notebooks" / "40_claims.html").as_uri())
    seen = "[...document.querySelectorAll('.ganseg-card')].filter(card => card.offsetParent).map(c => c.className)"
    cards = tab.script(seen)
    assert len(cards) == len(Ledger().claims)
    tab.script("document.getElementById('v-undecided').click()")
    assert tab.script(seen) == [name for name in cards if "v-undecided" in name]
    tab.script("document.querySelector('.ganseg-card.v-undecided summary').click()")
    assert "Rules" in tab.script("document.querySelector('.ganseg-card[open] dl').innerText")
