"""The page of `explore` in a real browser: linked panels, keys, themes, and nothing that runs."""

import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_stacks import meta, random_rdm
from PIL import Image
from scipy.linalg import orthogonal_procrustes

import pytorch_feature_analysis as pfa

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
HOSTILE = '<img src=x onerror="window.ran=1"></script><script>window.ran=2</script>{{7*7}}@{x}$$'
LAYERS = ["conv1", "conv2", "fc1"]
NAMES = ["red cup", "blue cup", "red hat", "кошка", "pen", HOSTILE, "hat pin", "door"]
KEYS = tuple((name,) for name in NAMES)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def make_stack():
    rng = np.random.default_rng(3)
    places = [("alexnet", LAYERS), ("vgg", LAYERS[:2]), (HOSTILE, LAYERS[:1])]
    rows = [
        {"model": model, "layer": layer, "matrix": random_rdm(rng, 4 if model == HOSTILE else 8)}
        for model, layers in places
        for layer in layers
    ]
    frame = pd.DataFrame(rows).assign(dissim_metric="corr")
    frame["entry_keys"] = [KEYS[: len(matrix)] for matrix in frame["matrix"]]
    return frame


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stack():
    return make_stack()


@pytest.fixture(scope="module")
def files(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    pictures = {}
    for k, key in enumerate(KEYS[:5]):
        pictures[key] = Image.new("RGB", (60, 40), (40 * k, 80, 160))
    skewed = np.zeros((3, 3))
    skewed[0, 2], skewed[1, 0] = 1, np.nan
    layers = meta(stack[:5], ["layer"], grouping_variables=["model"])
    pages = {
        "stack": pfa.explore(stack, pictures, folder / "stack.html", progress=False),
        "layers": pfa.explore(layers, out_fname=folder / "layers.html", progress=False),
        "skewed": pfa.explore(
            pd.DataFrame({"matrix": [skewed], "entry_keys": [["a", "b", "c"]]}),
            out_fname=folder / "skewed.html",
            symmetrize=True,
            progress=False,
        ),
    }
    return {name: path.as_uri() for name, path in pages.items()}


@pytest.fixture
def open_page(browser, files):
    """Open a page in a fresh context, and fail at its end on what it fetched or complained of."""
    contexts, wrong = [], []

    def open_(name="stack", **options):
        settings = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(**settings | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)

        def route(route):
            if route.request.url.startswith(("file:", "data:")):
                return route.continue_()
            wrong.append(f"asked for {route.request.url}")
            return route.abort()

        page.route("**/*", route)
        page.on(
            "console", lambda said: said.type in ("error", "warning") and wrong.append(said.text)
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        page.goto(files[name])
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    ran = [page.evaluate("window.ran") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert wrong == []
    assert ran == [None] * len(ran)


def source(page, name):
    """Data of one of Bokeh's sources."""
    script = """name => Object.fromEntries(Object.entries(Bokeh.documents
        .map((d) => d.get_model_by_name(name)).find((model) => model !== null).data)
        .map(([key, values]) => [key, Array.from(values)]))"""
    return page.evaluate(script, name)


def cell(page, n, i, j):
    """Where the middle of a cell is on the screen."""
    box = page.locator("#rdm .frame").bounding_box()
    return box["x"] + (j + 0.5) / n * box["width"], box["y"] + (i + 0.5) / n * box["height"]


def place_of(page, position):
    """Where a point is on the screen, by its number among the points."""
    data = source(page, "points")
    box = page.locator("#map .frame").bounding_box()
    across, up = data["x"][position] / 1.2, data["y"][position] / 1.2
    return box["x"] + (1 + across) / 2 * box["width"], box["y"] + (1 - up) / 2 * box["height"]


def step_to(page, position):
    page.locator("#slider").fill(str(position))


def expected_points(stack):
    """Points of the rows as the page is to show them, turned by scipy and brought to size 1."""
    shown, last = [], None
    for k in range(len(stack)):
        points = pfa.mds_coordinates(stack.iloc[[k]], num_starts=1)[["dim1", "dim2"]].to_numpy()
        if last is not None:
            points = points @ orthogonal_procrustes(points, last)[0]
        last = points
        shown.append(points / np.abs(points).max())
    return shown


def test_a_cell_that_is_pointed_at_shows_both_labels_pictures_and_the_value(open_page, stack):
    page = open_page()
    page.mouse.move(*cell(page, 8, 1, 3))
    value = f"{stack['matrix'][0][1, 3]:.4f}"
    assert page.locator("#pair figcaption").all_text_contents() == ["blue cup", "кошка"]
    assert page.locator("#pair b").text_content() == value
    assert page.locator("#pair img").count() == 2
    assert page.locator("#tip").text_content() == f"blue cup and кошка{value}"
    assert source(page, "cell") == {"left": [3], "right": [4], "top": [1], "bottom": [2]}
    assert page.locator("#layer .near").count() == 2
    page.mouse.move(2, 2)
    assert page.locator("#pair *").count() == 0
    assert not page.locator("#tip").is_visible()


def test_the_heat_map_has_rows_from_the_top_and_grey_for_what_is_missing(open_page):
    page = open_page("skewed")
    page.mouse.move(*cell(page, 3, 0, 2))
    said = page.locator("#pair").text_content()
    assert "1.0000" in said
    assert "0.0000 the other way" in said
    page.mouse.move(2, 2)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    colours = np.array(
        [
            [picture.getpixel(tuple(map(int, cell(page, 3, i, j)))) for j in range(3)]
            for i in range(3)
        ]
    )
    bright = colours.sum(axis=2)
    assert np.unravel_index(bright.argmax(), (3, 3)) == (0, 2)
    assert colours[1, 0].tolist() == [0xA8, 0xA8, 0xAE]
    assert bright[2, 0] < 60
    assert page.locator("#rdm-note").text_content() == "Grey: no value (1 of 9 cells)."


def test_a_point_that_is_chosen_has_its_row_marked_and_its_neighbours_listed(open_page, stack):
    page = open_page()
    page.mouse.click(*place_of(page, 2))
    assert source(page, "marks") == {
        "left": [0, 2],
        "right": [8, 3],
        "top": [2, 0],
        "bottom": [3, 8],
    }
    assert page.locator("#chosen h2").text_content() == "red hat"
    row = stack["matrix"][0][2]
    order = [j for j in np.argsort(row, kind="stable") if j != 2]
    lists = page.locator("#chosen ol")
    assert lists.nth(0).locator("span").all_text_contents() == [NAMES[j] for j in order[:4]]
    assert lists.nth(1).locator("span").all_text_contents() == [NAMES[j] for j in order[:3:-1]]
    assert lists.nth(0).locator("output").first.text_content() == f"{row[order[0]]:.4f}"
    # A neighbour is chosen from the list; Shift adds the one before to it.
    lists.nth(0).locator("button").first.click()
    assert page.locator("#chosen h2").text_content() == NAMES[order[0]]
    page.keyboard.down("Shift")
    page.mouse.click(*place_of(page, 2))
    page.keyboard.up("Shift")
    assert page.locator("#chosen .chip").all_text_contents() == ["red hat"]


def test_the_slider_moves_points_to_the_coordinates_of_the_next_row(open_page, stack):
    page = open_page()
    expected = expected_points(stack[:5])
    for position in (0, 2, 1):
        step_to(page, position)
        data = source(page, "points")
        np.testing.assert_allclose(data["x"], expected[position][:, 0], atol=1e-4)
        np.testing.assert_allclose(data["y"], expected[position][:, 1], atol=1e-4)
        assert page.locator("#place b").text_content() == LAYERS[position]
    slider = page.locator("#slider")
    assert slider.get_attribute("aria-valuetext") == "layer conv2, 2 of 3"


def test_points_are_on_their_way_before_they_are_there(open_page, stack):
    page = open_page(reduced_motion="no-preference")
    start, end = (expected_points(stack[:5])[k][:, 0] for k in (0, 1))
    seen = page.evaluate("""async () => {
        const points = Bokeh.documents.map((d) => d.get_model_by_name("points")).find(Boolean);
        const slider = document.getElementById("slider");
        slider.value = 1;
        slider.dispatchEvent(new Event("input"));
        const [seen, begin] = [[], performance.now()];
        while (performance.now() - begin < 800) {
            await new Promise(requestAnimationFrame);
            seen.push(Array.from(points.data.x));
        }
        return seen;
    }""")
    shares = (np.array(seen) - start) / (end - start)
    np.testing.assert_allclose(shares, np.tile(shares[:, :1], 8), atol=1e-2)
    assert any(0.02 < share < 0.98 for share in shares[:, 0])
    assert (np.diff(shares[:, 0]) > -1e-6).all()
    np.testing.assert_allclose(source(page, "points")["x"], end, atol=1e-4)


def test_a_combination_that_does_not_exist_goes_to_the_nearest_row(open_page):
    page = open_page()
    model, layer = page.locator("#columns select").all()
    layer.select_option(label="fc1")
    model.select_option(label="vgg")
    assert layer.locator("option:checked").text_content() == "conv2"
    assert "shown is the nearest one, with another layer" in page.locator("#status").text_content()
    layer.select_option(label="fc1")
    assert model.locator("option:checked").text_content() == "alexnet"


def test_what_is_chosen_stays_chosen_from_row_to_row_and_among_other_entries(open_page):
    page = open_page()
    page.mouse.click(*place_of(page, 3))
    step_to(page, 2)
    assert page.locator("#chosen h2").text_content() == "кошка"
    model = page.locator("#columns select").first
    model.select_option(index=2)
    assert page.locator("#summary").text_content() == "6 RDMs · 4 entries · corr"
    assert source(page, "marks")["top"] == [3, 0]
    page.locator("#search").fill("door")
    assert page.locator("#chosen").text_content().endswith("Not an entry of this row.")
    model.select_option(label="alexnet")
    assert source(page, "marks")["top"] == [7, 0]


def test_the_search_chooses_what_has_the_text_and_escape_clears(open_page):
    page = open_page()
    page.locator("#search").fill("HAT")
    assert page.locator("#found").text_content() == "2 of 8"
    assert page.locator("#chosen h2").text_content() == "red hat"
    assert page.locator("#chosen .chip").all_text_contents() == ["hat pin"]
    page.locator("#search").fill("кош")
    assert page.locator("#chosen h2").text_content() == "кошка"
    page.keyboard.press("Escape")
    assert page.locator("#chosen *").count() == 0
    assert source(page, "marks")["left"] == []
    assert page.locator("#search").input_value() == ""


def test_arrow_keys_go_through_rows_and_entries(open_page):
    page = open_page()
    page.locator("#rdm").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#place").text_content() == "conv22 of 3"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#chosen h2").text_content() == "blue cup"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.locator("#chosen h2").text_content() == "door"
    assert page.locator("#status").text_content().startswith("door chosen. Nearest to door: ")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#place b").text_content() == "conv1"
    page.keyboard.press("Escape")
    assert page.locator("#chosen *").count() == 0


def test_light_and_dark_follow_the_system_and_the_button(open_page):
    def brightness(page):
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light, dark = open_page(), open_page(color_scheme="dark")
    assert brightness(light) > 200
    assert brightness(dark) < 50
    dark.locator("#theme").click()
    assert brightness(dark) > 200


def test_markup_in_names_is_shown_as_text_and_never_runs(open_page):
    page = open_page()
    page.mouse.move(*cell(page, 8, 5, 0))
    assert page.locator("#tip span").text_content() == f"{HOSTILE} and red cup"
    assert page.locator("#pair figcaption").first.text_content() == HOSTILE
    page.mouse.click(*cell(page, 8, 5, 5))
    assert page.locator("#chosen h2").text_content() == HOSTILE
    page.locator("#columns select").first.select_option(label=HOSTILE)
    texts = page.locator("#columns option").all_text_contents()
    assert HOSTILE in texts
    # Pictures are the page's own, and there is no script but the three of the page.
    sources = page.locator("img").evaluate_all("all => all.map((image) => image.src.slice(0, 10))")
    assert set(sources) <= {"data:image"}
    assert page.locator("script").count() == 3


def test_the_policy_would_stop_what_got_in(browser, files):
    page = browser.new_page()
    page.goto(files["stack"])
    page.evaluate("""document.body.append(Object.assign(document.createElement("div"),
        { innerHTML: '<img src=x onerror="window.ran=3">' }))""")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    page.close()


def test_the_second_order_shows_labels_in_place_of_pictures(open_page):
    page = open_page("layers")
    assert page.locator("#layer span").all_text_contents() == LAYERS
    assert page.locator("#names span").all_text_contents() == LAYERS
    assert page.locator("img").count() == 0
    page.mouse.click(*place_of(page, 1))
    assert page.locator("#chosen h2").text_content() == "conv2"
    assert len(source(page, "rings")["x"]) == 1
    # vgg has two layers.
    page.locator("#after").click()
    assert page.locator("#layer span").all_text_contents() == LAYERS[:2]
    assert len(source(page, "points")["x"]) == 2


def test_a_touch_chooses_and_nothing_is_wider_than_a_telephone(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.locator("#rdm-plot").scroll_into_view_if_needed()
    page.touchscreen.tap(*cell(page, 8, 4, 1))
    assert page.locator("#chosen h2").text_content() == "pen"
    assert page.locator("#chosen .chip").all_text_contents() == ["blue cup"]
    assert page.locator("#pair figcaption").all_text_contents() == ["pen", "blue cup"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_can_be_reached_has_a_name(open_page):
    page = open_page()
    nameless = page.evaluate("""() => [
        ...document.querySelectorAll("button, input, select, [tabindex]")]
        .filter((e) => !e.getAttribute("aria-label") && !e.textContent.trim() && !e.labels?.length)
        .map((e) => e.outerHTML)""")
    assert nameless == []
    assert page.locator("#rdm").get_attribute("aria-label") == "RDM of 8 entries"
