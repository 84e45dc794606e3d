"""What `strongroom up` prints when everything runs: a screen for people, a line for programs."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

# The smallest body that pays; the shell puts a new merchant_reference in the place of `@`.
PAYMENT = {
    "amount": 1999,
    "currency": "EUR",
    "merchant_reference": "@",
    "instrument": {"gateway": "stripe", "token": "pm_card_visa"},
}
_WAIT_SECONDS = 10
_CARDS = (
    ("pm_card_visa", "succeeds"),
    ("pm_card_chargeDeclined", "is declined: generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "is declined: insufficient_funds"),
    ("pm_card_threeDSecure2Required", "requires_action: 3-D Secure"),
)


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is. `api_key` and `knob_token` are secrets of a development deployment."""

    home: Path
    api_url: str
    api_key: str
    api_key_file: Path
    legal_entity: str
    stripe_url: str
    braintree_url: str
    checkout_url: str
    knob_token: str
    postgres_url_file: Path
    pids: dict[str, int]
    metrics_urls: dict[str, str]


def ready_line(running: Running) -> str:
    """`ready` and one JSON object, for a program that started us."""
    facts = {
        "api_url": running.api_url,
        "api_key": running.api_key,
        "legal_entity": running.legal_entity,
        "stripe_url": running.stripe_url,
        "braintree_url": running.braintree_url,
        "checkout_url": running.checkout_url,
        "knob_token": running.knob_token,
        "postgres_url_file": str(running.postgres_url_file),
        "pids": running.pids,
        "metrics_urls": running.metrics_urls,
    }
    return f"ready {json.dumps(facts)}"


def screen(running: Running) -> str:
    """Addresses, a command that pays, test cards, and where to look; no secret stands in it."""
    command = _strongroom()
    lines = [f"{url}   ({name})" for name, url in running.metrics_urls.items()]
    metrics = "\n                 ".join(lines) or "off, as strongroom.json says"
    cards = "\n".join(f"    {token:<42}{what}" for token, what in _CARDS)
    return f"""
  Strongroom is up, in development mode: no real money, nothing leaves this machine.

  API            {running.api_url}
  Stripe         {running.stripe_url}   (a stand-in)
  Braintree      {running.braintree_url}   (a stand-in)
  Checkout page  {running.checkout_url}
  API key        in {running.api_key_file}
  Legal entity   {running.legal_entity}

  Pay (paste into another terminal):

{_pay(running)}

  Then see what happened to it:

{command} explain <id> --home {quote(str(running.home))}

  Other cards, in place of pm_card_visa:
{cards}

  Logs           {running.home / "logs"}
  Metrics        {metrics}
  Stop           Ctrl-C
"""


def _pay(running: Running) -> str:
    if shutil.which("curl") is None:
        return _pay_with_python(running)
    body = json.dumps(PAYMENT).replace("@", "order-'$(date +%s)'")
    return (
        f"curl -sS {running.api_url}/v1/payments \\\n"
        f'  -H "Authorization: Bearer $(cat {quote(str(running.api_key_file))})" \\\n'
        f'  -H "Idempotency-Key: order-$(date +%s)" -H "Prefer: wait={_WAIT_SECONDS}" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )


def _pay_with_python(running: Running) -> str:
    code = (
        "import json, time, urllib.error, urllib.request as r\n"
        'order = f"order-{int(time.time())}"\n'
        f"body = {json.dumps(PAYMENT)}\n"
        'body["merchant_reference"] = order\n'
        f"key = open({json.dumps(str(running.api_key_file))}).read().strip()\n"
        'head = {"Authorization": "Bearer " + key, "Idempotency-Key": order,\n'
        f'        "Prefer": "wait={_WAIT_SECONDS}", "Content-Type": "application/json"}}\n'
        f'asked = r.Request("{running.api_url}/v1/payments", json.dumps(body).encode(), head)\n'
        "try: print(r.urlopen(asked).read().decode())\n"
        "except urllib.error.HTTPError as refused: print(refused.read().decode())\n"
    )
    return f"{quote(sys.executable)} -c {quote(code)}"


def _strongroom() -> str:
    """The command as this installation spells it."""
    if shutil.which("strongroom"):
        return "strongroom"
    beside_python = Path(sys.executable).with_name("strongroom")
    if beside_python.is_file():
        return quote(str(beside_python))
    return f"{quote(sys.executable)} -m strongroom"
