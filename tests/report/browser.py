"""A real browser without a window, and what its tests ask of a page."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1300,900",
)
#: Roles whose elements a screen reader names.
NAMED = {"button", "link", "tab", "tabpanel", "tablist", "table", "image", "region", "navigation"}


@contextmanager
def opened_browser() -> Iterator[Any]:
    """Start Chromium; skips where there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip(f"no {'browser (chromium or google-chrome)' if driver else 'chromedriver'} is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            yield started
        finally:
            started.quit()


class Window:
    """A page in the browser, opened anew as a file."""

    def __init__(self, driver: Any, path: Path, *, dark: bool = False, width: int = 1300) -> None:
        self.driver = driver
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for kind in ("browser", "performance"):
            driver.get_log(kind)
        # Only a new document is read again where the address is the same.
        driver.get("about:blank")
        driver.get(path.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def click(self, selector: str) -> None:
        """Click as a mouse does."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        self._settle()
        element.click()
        self._settle()

    def press(self, selector: str, key: str) -> None:
        """Press a key in an element that has the focus."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].focus()", element)
        self.driver.switch_to.active_element.send_keys(key)
        self._settle()

    def _settle(self) -> None:
        """Wait until the page has drawn itself and heard of what happened, such as another hash."""
        self.driver.execute_async_script(
            "const [done] = arguments, next = requestAnimationFrame; next(() => next(() => setTimeout(done)))"
        )

    def print_media(self) -> None:
        """Show the page as it would be printed."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    def column(self, table: str, column: int) -> list[str]:
        """Return what the rows of a table say in a column, in their order."""
        rows = f"[...document.getElementById('{table}').tBodies[0].rows]"
        said: list[str] = self.run(f"{rows}.map((row) => row.cells[{column}].dataset.value)")
        return said

    def shown(self, selector: str) -> list[str]:
        """Return the ids of the elements that can be seen."""
        found = f"[...document.querySelectorAll('{selector}')]"
        ids: list[str] = self.run(f"{found}.filter((e) => e.offsetHeight > 0).map((e) => e.id)")
        return ids

    def complaints(self) -> list[str]:
        """Return what the console says."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for, those of inlined pictures aside."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def unnamed(self) -> list[str]:
        """Return the roles of elements that should have an accessible name and have none."""
        # The tree is built after the page, and a busy machine may be asked for it too early.
        nodes: list[Any] = WebDriverWait(self.driver, 30).until(lambda _: self._read_out())
        return [node["role"]["value"] for node in nodes if not node.get("name", {}).get("value", "").strip()]

    def _read_out(self) -> list[Any] | None:
        """Return the elements that should have a name once there are some, and no more are coming."""

        def found() -> list[Any]:
            nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            return [n for n in nodes if not n["ignored"] and n.get("role", {}).get("value") in NAMED]

        first = found()
        time.sleep(0.2)
        again = found()
        return again if len(again) == len(first) > 20 else None
