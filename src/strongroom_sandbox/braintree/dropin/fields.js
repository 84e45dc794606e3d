// The frame of the card fields: what is typed here goes to this origin and nowhere else. The page
// around it hears whether the fields are complete, and gets a nonce.
"use strict";
(() => {
  const fields = {
    number: document.getElementById("number"),
    expiry: document.getElementById("expiry"),
    code: document.getElementById("code"),
  };
  const challenged = new Map();
  let port = null;
  let client = null;

  const digits = (text) => text.replace(/\D/g, "");
  const failure = (code, message) => ({ error: { code, message } });

  function isLuhn(number) {
    const sum = [...number].reverse().reduce((total, digit, place) => {
      const value = Number(digit) * (1 + (place % 2));
      return total + (value > 9 ? value - 9 : value);
    }, 0);
    return sum % 10 === 0;
  }

  function expiry() {
    const text = digits(fields.expiry.value);
    return { month: text.slice(0, 2), year: text.slice(2, 4) };
  }

  function wrongField() {
    const number = digits(fields.number.value);
    const { month, year } = expiry();
    if (number.length < 12 || !isLuhn(number)) {
      return "number";
    }
    const ends = new Date(2000 + Number(year), Number(month), 1);
    if (year.length < 2 || Number(month) < 1 || Number(month) > 12 || ends <= new Date()) {
      return "expiry";
    }
    return digits(fields.code.value).length < 3 ? "code" : null;
  }

  function mark(wrong) {
    for (const [name, field] of Object.entries(fields)) {
      field.setAttribute("aria-invalid", String(name === wrong));
    }
  }

  function write() {
    const number = digits(fields.number.value).slice(0, 19);
    fields.number.value = number.replace(/(.{4})(?=.)/g, "$1 ");
    const { month, year } = expiry();
    fields.expiry.value = year ? `${month} / ${year}` : month;
    fields.code.value = digits(fields.code.value);
  }

  function tell() {
    port?.postMessage({ type: "requestable", requestable: wrongField() === null });
  }

  async function ask(path, content) {
    const answer = await fetch(client.path + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ authorizationFingerprint: client.fingerprint, ...content }),
    });
    const said = await answer.json();
    if (!answer.ok) {
      throw said.error;
    }
    return said;
  }

  function payloadOf({ nonce, type, details, threeDSecureInfo: info }) {
    return {
      nonce,
      type,
      details,
      threeDSecureInfo: info ?? null,
      liabilityShifted: info?.liabilityShifted,
      liabilityShiftPossible: info?.liabilityShiftPossible,
    };
  }

  async function authenticate(id, nonce, asked) {
    const content = { amount: asked.amount };
    const said = await ask(`/v1/payment_methods/${nonce}/three_d_secure/lookup`, content);
    if (said.challenge === null) {
      return said.paymentMethod;
    }
    const outcome = await new Promise((resolve) => {
      challenged.set(said.challenge, resolve);
      port.postMessage({ type: "challenge", id, token: said.challenge });
    });
    challenged.delete(said.challenge);
    const end = await ask(`/v1/challenges/${said.challenge}/result`, { outcome });
    return end.paymentMethod;
  }

  async function request({ id, threeDSecure }) {
    const wrong = wrongField();
    mark(wrong);
    if (wrong !== null) {
      fields[wrong].focus();
      return failure("HOSTED_FIELDS_FIELDS_INVALID", "Some payment input fields are invalid.");
    }
    const { month, year } = expiry();
    const creditCard = {
      number: digits(fields.number.value),
      expirationMonth: month,
      expirationYear: year,
      cvv: fields.code.value,
    };
    try {
      const said = await ask("/v1/payment_methods/credit_cards", { creditCard });
      const made = said.creditCards[0];
      const method = threeDSecure ? await authenticate(id, made.nonce, threeDSecure) : made;
      return { payload: payloadOf(method) };
    } catch (error) {
      const message = error?.message ?? "There was an error connecting to Braintree.";
      return failure("NO_PAYMENT_METHOD_REQUESTABLE", message);
    }
  }

  async function obey({ data }) {
    if (data.type === "request") {
      port.postMessage({ type: "result", id: data.id, ...(await request(data)) });
    } else if (data.type === "challenged") {
      challenged.get(data.token)?.(data.outcome);
    } else if (data.type === "clear") {
      for (const field of Object.values(fields)) {
        field.value = "";
      }
      mark(null);
      tell();
    }
  }

  function read(authorization) {
    const content = JSON.parse(atob(authorization));
    const url = new URL(content.clientApiUrl);
    if (url.origin !== location.origin) {
      throw new Error("another origin");
    }
    return { path: url.pathname, fingerprint: content.authorizationFingerprint };
  }

  window.addEventListener("message", (event) => {
    // The page that holds the frame speaks first, once; all later words come over its port.
    if (port !== null || event.source !== window.parent || event.data?.type !== "init") {
      return;
    }
    [port] = event.ports;
    try {
      client = read(event.data.authorization);
    } catch {
      port.postMessage({ type: "refused", message: "Authorization is invalid." });
      return;
    }
    port.onmessage = obey;
    const card = document.getElementById("card");
    const measure = () => port.postMessage({ type: "resize", height: card.scrollHeight });
    new ResizeObserver(measure).observe(card);
    port.postMessage({ type: "ready" });
  });

  for (const field of Object.values(fields)) {
    field.addEventListener("input", () => {
      write();
      tell();
    });
  }
})();
