// The card frame: what is typed here goes to this origin and nowhere else. The page around it hears
// whether the fields are complete, and gets the id of a payment method.
"use strict";
(() => {
  const fields = {
    number: document.getElementById("number"),
    expiry: document.getElementById("expiry"),
    code: document.getElementById("code"),
  };
  let port = null;
  let key = null;

  const digits = (text) => text.replace(/\D/g, "");

  function isLuhn(number) {
    let sum = 0;
    for (let place = 0; place < number.length; place += 1) {
      let value = Number(number[number.length - 1 - place]);
      if (place % 2 === 1) {
        value = value * 2 > 9 ? value * 2 - 9 : value * 2;
      }
      sum += value;
    }
    return sum % 10 === 0;
  }

  function expiry() {
    const text = digits(fields.expiry.value);
    return { month: text.slice(0, 2), year: text.slice(2, 4) };
  }

  function hasPassed({ month, year }) {
    const today = new Date();
    return new Date(2000 + Number(year), Number(month), 1) <= today;
  }

  const refusal = (field, code, message) => ({
    field,
    error: { type: "validation_error", code, message },
  });

  function problem() {
    const number = digits(fields.number.value);
    const { month, year } = expiry();
    if (number.length < 12) {
      return refusal("number", "incomplete_number", "Your card number is incomplete.");
    }
    if (!isLuhn(number)) {
      return refusal("number", "invalid_number", "Your card number is invalid.");
    }
    if (month.length < 2 || year.length < 2) {
      return refusal("expiry", "incomplete_expiry", "Your card's expiration date is incomplete.");
    }
    if (Number(month) < 1 || Number(month) > 12) {
      return refusal("expiry", "invalid_expiry_month", "Your card's expiration month is invalid.");
    }
    if (hasPassed({ month, year })) {
      return refusal(
        "expiry",
        "invalid_expiry_year_past",
        "Your card's expiration year is in the past.",
      );
    }
    if (digits(fields.code.value).length < 3) {
      return refusal("code", "incomplete_cvc", "Your card's security code is incomplete.");
    }
    return null;
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
    const found = problem();
    const empty = Object.values(fields).every((field) => field.value === "");
    port?.postMessage({ type: "change", event: { complete: found === null, empty } });
  }

  async function tokenize() {
    const found = problem();
    if (found) {
      mark(found.field);
      fields[found.field].focus();
      return { error: found.error };
    }
    mark(null);
    const { month, year } = expiry();
    const form = new URLSearchParams({
      type: "card",
      key,
      "card[number]": digits(fields.number.value),
      "card[exp_month]": month,
      "card[exp_year]": year,
      "card[cvc]": fields.code.value,
    });
    try {
      const answer = await fetch("/v1/payment_methods", { method: "POST", body: form });
      const said = await answer.json();
      if (!answer.ok) {
        return { error: said.error };
      }
      return { paymentMethod: said };
    } catch {
      const message = "An error occurred with our connection to Stripe.";
      return { error: { type: "api_connection_error", message } };
    }
  }

  async function obey({ data }) {
    if (data.type === "tokenize") {
      port.postMessage({ type: "tokenized", id: data.id, result: await tokenize() });
    } else if (data.type === "focus") {
      fields.number.focus();
    } else if (data.type === "clear") {
      for (const field of Object.values(fields)) {
        field.value = "";
      }
      mark(null);
      tell();
    }
  }

  function measure() {
    port?.postMessage({ type: "resize", height: document.getElementById("card").scrollHeight });
  }

  window.addEventListener("message", (event) => {
    // The page that holds the frame speaks first, once; all later words come over its port.
    if (port !== null || event.source !== window.parent || event.data?.type !== "init") {
      return;
    }
    [port] = event.ports;
    key = event.data.key;
    port.onmessage = obey;
    new ResizeObserver(measure).observe(document.getElementById("card"));
    port.postMessage({ type: "ready", event: {} });
  });

  for (const field of Object.values(fields)) {
    field.addEventListener("input", () => {
      write();
      tell();
    });
    field.addEventListener("focus", () => port?.postMessage({ type: "focus", event: {} }));
    field.addEventListener("blur", () => port?.postMessage({ type: "blur", event: {} }));
  }
})();
