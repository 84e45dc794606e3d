"""The 3D Secure page: where the customer completes or fails the authentication.

Plain HTML with two forms, no script. The address holds a token that cannot be guessed; whoever
has it may decide, as with the page of an issuing bank.
"""

from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from aiohttp import web

from strongroom_sandbox.clock import Clock
from strongroom_sandbox.ledger import Ledger
from strongroom_sandbox.stripe.attempt import fail_authentication, method_of, settle
from strongroom_sandbox.stripe.books import Books, Change, Intent
from strongroom_sandbox.stripe.outcome import Outcome, Scene
from strongroom_sandbox.stripe.saved import Setup
from strongroom_sandbox.stripe.setups import authenticated
from strongroom_sandbox.stripe.shapes import ACTION_PATH

DECISIONS = ("complete", "fail")
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>3D Secure (test)</title></head>
<body><main>
<h1>3D Secure (test)</h1>
{content}
</main></body>
</html>
"""
FORMS = """<p>A payment of {amount} {currency} (in the currency's minor unit) asks for
authentication.</p>
<form method="post" action="{path}/complete"><button>Complete authentication</button></form>
<form method="post" action="{path}/fail"><button>Fail authentication</button></form>"""
SETUP_FORMS = """<p>A card that is to be saved asks for authentication.</p>
<form method="post" action="{path}/complete"><button>Complete authentication</button></form>
<form method="post" action="{path}/fail"><button>Fail authentication</button></form>"""
DONE = "<p>The authentication is over: <strong>{result}</strong>. You may close this page.</p>"
UNKNOWN = "<p>This authentication is not known, or it is over.</p>"


class Challenges:
    """Serves the pages under ACTION_PATH."""

    def __init__(self, books: Books, ledger: Ledger, clock: Clock) -> None:
        self._books = books
        self._ledger = ledger
        self._clock = clock

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Show a page (GET), or decide (POST) and send the browser back to the merchant."""
        token, _, decision = request.path.removeprefix(ACTION_PATH).partition("/")
        intent = self._books.intent_of_action(token)
        if intent is None:
            setup = self._books.setup_of_action(token)
            if setup is None:
                return _page(404, UNKNOWN, None)
            return await self._of_setup(request.method, setup, decision)
        if request.method == "GET" and not decision:
            return await self._show(intent, token)
        if request.method != "POST" or decision not in DECISIONS:
            return _page(405, UNKNOWN, None)
        if intent.status == "requires_action":
            intent = self._decide(intent, passed=decision == "complete")
        await self._ledger.durable()
        return _back(intent)

    async def _of_setup(self, method: str, setup: Setup, decision: str) -> web.Response:
        """The same for a card that is being saved."""
        await self._ledger.durable()
        if method == "GET" and not decision:
            if setup.status != "requires_action":
                return _page(200, DONE.format(result=_setup_result(setup)), None)
            path = escape(ACTION_PATH + (setup.action_token or ""))
            return _page(200, SETUP_FORMS.format(path=path), setup.return_url)
        if method != "POST" or decision not in DECISIONS:
            return _page(405, UNKNOWN, None)
        if setup.status == "requires_action":
            scene = Scene(self._books, self._clock.now())
            change = authenticated(scene, setup, passed=decision == "complete")
            self._books.apply(change)
            self._ledger.append(msgspec.json.encode(change))
            setup = self._books.setups[setup.id]
        await self._ledger.durable()
        result = _setup_result(setup)
        return _sent_back(setup.return_url, result, "setup_intent", (setup.id, setup.client_secret))

    async def _show(self, intent: Intent, token: str) -> web.Response:
        await self._ledger.durable()
        if intent.status != "requires_action":
            return _page(200, DONE.format(result=_result(intent)), None)
        content = FORMS.format(
            amount=intent.amount,
            currency=escape(intent.currency.upper()),
            path=escape(ACTION_PATH + token),
        )
        return _page(200, content, intent.return_url)

    def _decide(self, intent: Intent, *, passed: bool) -> Intent:
        scene = Scene(self._books, self._clock.now(), intent.confirm_key)
        change = Change(time=scene.now)
        method = method_of(self._books, intent)
        outcome: Outcome
        if passed and method is not None:
            outcome = settle(scene, intent, method, change, authenticated=True)
        else:
            outcome = fail_authentication(scene, intent, change)
        self._books.apply(outcome.change)
        self._ledger.append(msgspec.json.encode(outcome.change))
        return self._books.intents[intent.id]


def _result(intent: Intent) -> str:
    return "succeeded" if intent.status in ("succeeded", "requires_capture") else "failed"


def _setup_result(setup: Setup) -> str:
    return "succeeded" if setup.status == "succeeded" else "failed"


def _back(intent: Intent) -> web.Response:
    told = (intent.id, intent.client_secret)
    return _sent_back(intent.return_url, _result(intent), "payment_intent", told)


def _sent_back(
    return_url: str | None, result: str, noun: str, told: tuple[str, str]
) -> web.Response:
    """Send the browser to the return_url with what Stripe adds to it."""
    if return_url is None:
        return _page(200, DONE.format(result=result), None)
    parts = urlsplit(return_url)
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (noun, told[0]),
        (f"{noun}_client_secret", told[1]),
        ("redirect_status", result),
    ]
    location = urlunsplit(parts._replace(query=urlencode(query)))
    return web.Response(
        status=303, headers={"Location": location, "Referrer-Policy": "no-referrer"}
    )


def _page(status: int, content: str, return_url: str | None) -> web.Response:
    # Browsers hold the redirect after a form to form-action too, so it names the merchant.
    parts = urlsplit(return_url or "")
    back = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return web.Response(
        status=status,
        text=PAGE.format(content=content),
        content_type="text/html",
        headers={
            "Content-Security-Policy": "default-src 'none'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action 'self'{back}",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )
