"""What was answered or charged survives kill -9, and a damaged ledger is never started on."""

import asyncio
import json
import os
import threading

import pytest
import stripe
from msgspec.structs import replace

from strongroom_sandbox import ledger as ledgers
from strongroom_sandbox.stripe.books import VERSION_SECONDS, Books, Change, Intent
from strongroom_sandbox.stripe.server import Settings, StandIn
from strongroom_sandbox.tokens import KeyFile


def test_kill_9_under_load_loses_nothing(own_stripe, pay):
    answered: dict[str, tuple[str, str] | None] = {}
    stop = threading.Event()

    def work(worker):
        client = own_stripe.client(http_client=stripe.RequestsClient(timeout=3))
        for number in range(10_000):
            order = f"{worker}-{number}"
            try:
                intent = client.v1.payment_intents.create(
                    pay(metadata={"order": order}), {"idempotency_key": order}
                )
            except stripe.APIConnectionError:
                answered.setdefault(order, None)
                return
            answered[order] = (intent.id, str(intent.latest_charge))
            if stop.is_set():
                return

    workers = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for worker in workers:
        worker.start()
    while len(answered) < 60:
        stop.wait(0.005)
    own_stripe.kill()
    for worker in workers:
        worker.join()
    own_stripe.start()
    client = own_stripe.client()
    for order, known in answered.items():
        [charge] = own_stripe.charges(**{"metadata[order]": order}) or [None]
        if known is not None:
            assert charge is not None
            assert known == (charge["payment_intent"], charge["id"])
            assert client.v1.payment_intents.retrieve(known[0]).status == "succeeded"
        again = client.v1.payment_intents.create(
            pay(metadata={"order": order}), {"idempotency_key": order}
        )
        if charge is not None:
            assert again.latest_charge == charge["id"]
        assert len(own_stripe.charges(**{"metadata[order]": order})) == 1


def test_kill_9_among_refunds_gives_back_no_more_than_was_taken(own_stripe, pay):
    charges = [own_stripe.client().v1.payment_intents.create(pay()).id for _ in range(20)]
    answered: dict[str, str] = {}
    asked: list[tuple[str, str]] = []

    def work(worker):
        refunds = own_stripe.client(http_client=stripe.RequestsClient(timeout=3)).v1.refunds
        for number in range(10_000):
            intent, key = charges[number % len(charges)], f"{worker}-{number}"
            asked.append((intent, key))
            try:
                refund = refunds.create(
                    {"payment_intent": intent, "amount": 90}, {"idempotency_key": key}
                )
            except stripe.InvalidRequestError:
                continue
            except stripe.APIConnectionError:
                return
            answered[key] = refund.id

    workers = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for worker in workers:
        worker.start()
    pause = threading.Event()
    while len(answered) < 150:
        pause.wait(0.005)
    own_stripe.kill()
    for worker in workers:
        worker.join()
    own_stripe.start()
    refunds = own_stripe.client().v1.refunds
    for key, refund_id in answered.items():
        assert refunds.retrieve(refund_id).status == "succeeded", key
    for intent, key in asked[-20:]:
        try:
            again = refunds.create(
                {"payment_intent": intent, "amount": 90}, {"idempotency_key": key}
            )
        except stripe.InvalidRequestError:
            continue
        assert again.id == answered.get(key, again.id)
    for entry in own_stripe.charges():
        assert entry["refunded"] <= entry["captured"]
    made = own_stripe.control("GET", "/_ledger/refunds?limit=10000")["data"]
    assert len({entry["idempotency_key"] for entry in made}) == len(made)
    assert own_stripe.control("GET", "/_ledger/summary")["over_refunded"] == []


def test_old_versions_are_forgotten_when_no_search_can_show_them():
    books = Books()
    intent = Intent(id="", client_secret="", created=0, updated=0, amount=1, currency="eur")
    for number in range(2000):
        opened = replace(intent, id=f"pi_{number}", updated=number * 60)
        books.apply(Change(time=number * 60, intents=[opened]))
        done = replace(opened, status="succeeded", updated=number * 60 + 30)
        books.apply(Change(time=number * 60 + 30, intents=[done]))
    now = 2000 * 60
    seen = books.as_of("pi_1990", now - 600 + 10)
    assert seen is not None
    assert seen.status == "requires_payment_method"
    assert books.as_of("pi_1990", now - 600 - 10) is None
    past = books.as_of("pi_3", now)
    assert past is not None
    assert past.status == "succeeded"
    assert len(books._versions) < VERSION_SECONDS / 60 + 5


def test_state_clock_and_keys_survive_and_knobs_do_not(own_stripe, pay):
    intents = own_stripe.client().v1.payment_intents
    waiting = intents.create(pay("pm_card_threeDSecure2Required"))
    with pytest.raises(stripe.CardError) as declined:
        intents.create(pay("pm_card_chargeDeclined"), {"idempotency_key": "declined"})
    held = intents.create(
        pay(capture_method="manual", expand=["latest_charge"]), {"idempotency_key": "held"}
    )
    own_stripe.advance(3600)
    own_stripe.knobs({"fault": "error_503"})
    moment = own_stripe.control("GET", "/_clock")["now"]
    own_stripe.kill()
    own_stripe.start()
    assert own_stripe.control("GET", "/_clock")["now"] >= moment
    assert own_stripe.control("GET", "/_knobs")["rules"] == []
    intents = own_stripe.client().v1.payment_intents
    path = intents.retrieve(waiting.id).next_action.use_stripe_sdk["stripe_js"]
    path = path.removeprefix(own_stripe.url)
    assert own_stripe.raw("POST", path + "/complete", "")[0] == 200
    assert intents.retrieve(waiting.id).status == "succeeded"
    with pytest.raises(stripe.CardError) as again:
        intents.create(pay("pm_card_chargeDeclined"), {"idempotency_key": "declined"})
    assert again.value.json_body == declined.value.json_body
    replayed = intents.create(
        pay(capture_method="manual", expand=["latest_charge"]), {"idempotency_key": "held"}
    )
    assert replayed.to_dict() == held.to_dict()
    assert intents.capture(held.id).status == "succeeded"


def test_a_torn_tail_is_cut_and_any_other_damage_refuses_the_start(own_stripe, pay):
    intents = own_stripe.client().v1.payment_intents
    made = [intents.create(pay()).id for _ in range(4)]
    own_stripe.kill()
    file = own_stripe.data / ledgers.FILE_NAME
    whole = file.read_bytes()

    file.write_bytes(whole + whole.splitlines()[-1][:40])
    own_stripe.start()
    assert own_stripe.terminate() == 0
    assert file.read_bytes() == whole
    own_stripe.start()
    intents = own_stripe.client().v1.payment_intents
    assert [intent.id for intent in intents.list().data] == made[::-1]
    intents.create(pay())
    assert own_stripe.terminate() == 0
    assert file.read_bytes().startswith(whole)

    lines = whole.splitlines(keepends=True)
    damaged = {
        "changed amount": whole.replace(b'"amount":2000', b'"amount":2001', 1),
        "missing line": b"".join(lines[:1] + lines[2:]),
        "swapped lines": b"".join([lines[1], lines[0], *lines[2:]]),
        "whole but wrong last line": whole[:-5] + b"x" + whole[-4:],
        "foreign line": whole + b"hello\n",
    }
    for what, content in damaged.items():
        file.write_bytes(content)
        assert "is not what was written" in own_stripe.refused(), what
        assert file.read_bytes() == content


def test_two_servers_never_share_a_ledger(own_stripe):
    assert "in use" in own_stripe.refused()


def test_the_ledger_and_the_log_hold_no_secret(own_stripe, pay):
    own_stripe.client().v1.payment_intents.create(pay())
    with pytest.raises(stripe.AuthenticationError):
        own_stripe.client("sk_test_wrongKey0123456789").v1.payment_intents.list()
    own_stripe.terminate()
    written = (own_stripe.data / ledgers.FILE_NAME).read_text() + own_stripe.error_file.read_text()
    assert "sk_test_" not in written
    assert own_stripe.knob_file.read_text().strip() not in written
    [line] = written.splitlines()
    change = json.loads(line[9:])
    assert {"id", "payment_intent", "amount", "currency", "created"} <= change["charges"][0].keys()


class HeldDisk:
    """Makes every sync wait until ``opened`` is set."""

    def __init__(self, monkeypatch):
        self.opened, self.begun = threading.Event(), threading.Event()
        self._sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._wait)

    def _wait(self, handle):
        self.begun.set()
        assert self.opened.wait(90)
        self._sync(handle)


@pytest.mark.asyncio
async def test_no_answer_is_given_before_the_disk_has_it(tmp_path, monkeypatch, pay):
    disk = HeldDisk(monkeypatch)
    key = tmp_path / "key"
    key.write_text("sk_test_held_disk")
    keys = KeyFile(key, "sk_test_")
    settings = Settings("127.0.0.1", 0, tmp_path / "data", keys, b"knob-token-1")
    server, http = StandIn(settings), stripe.AIOHTTPClient(timeout=60)
    await server.start()
    client = stripe.StripeClient(
        "sk_test_held_disk", base_addresses={"api": server.url}, http_client=http
    )
    intents = client.v1.payment_intents
    try:
        written = asyncio.create_task(intents.create_async(pay(), {"idempotency_key": "a"}))
        assert await asyncio.to_thread(disk.begun.wait, 60)
        unkeyed = asyncio.create_task(intents.list_async())
        await asyncio.sleep(0.1)
        # Not even a read may show what a crash could still take back.
        assert not written.done()
        assert not unkeyed.done()
        disk.opened.set()
        assert (await unkeyed).data[0].id == (await written).id
    finally:
        disk.opened.set()
        await http.close_async()
        await server.stop()


@pytest.mark.asyncio
async def test_an_answer_waits_for_the_disk_and_one_sync_serves_many(tmp_path, monkeypatch):
    disk = HeldDisk(monkeypatch)
    book = ledgers.Ledger(tmp_path)
    assert list(book.replay()) == []
    book.append(b"{}")
    first = asyncio.create_task(book.durable())
    assert await asyncio.to_thread(disk.begun.wait, 60)
    late = []
    for number in range(50):
        book.append(b'{"n":%d}' % number)
        late.append(asyncio.create_task(book.durable()))
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in [first, *late])
    disk.opened.set()
    await asyncio.gather(first, *late)
    assert book.syncs == 2
    await book.close()
    again = ledgers.Ledger(tmp_path)
    assert len(list(again.replay())) == 51
    await again.close()
