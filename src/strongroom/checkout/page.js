// The page's one script: card data goes from the gateway's frame to the gateway, and what comes
// back, a token, goes to this origin. It writes text only, never markup.
"use strict";
(() => {
  const LOOK_MILLISECONDS = 1000;
  const LOOKS_MAX = 600;
  const ENDS = ["open", "paid", "closed"];
  const OFFLINE = "There is no connection just now. Nothing was sent. Please try again.";
  const STILL_WAITING = "This takes longer than usual. You may reload this page later.";
  const LOADING = "The card fields are being loaded.";
  const NO_FIELDS = "The card fields could not be loaded. Please reload the page.";
  const INCOMPLETE = "Please check the card details: they are not complete, or not right.";
  const NOT_USED = "The card could not be used. No money was taken. Please try again, or another card.";
  const KEY_LOOKS_MAX = 40;
  const KEY_LOOK_MILLISECONDS = 500;

  const by = (id) => document.getElementById(id);
  const main = by("checkout");
  const form = by("form");
  const button = by("pay");
  const here = location.pathname;
  let number = Number(main.dataset.number) || null;
  let card = null;
  let isPreparing = false;

  // By gateway, its card fields in #card: `token` asks them for one, or for what is wrong.
  const FIELDS = {
    async stripe(key) {
      const stripe = window.Stripe(key);
      const element = stripe.elements().create("card");
      await new Promise((resolve) => {
        element.on("ready", resolve);
        element.mount("#card");
      });
      return {
        async token() {
          const made = await stripe.createPaymentMethod({ type: "card", card: element });
          return { token: made.paymentMethod?.id, error: made.error?.message };
        },
        clear: () => element.clear(),
      };
    },
    async braintree(authorization) {
      // The bank is asked here, and what it said is in the token: our server reads it there, and
      // takes nobody's word for it.
      const amount = main.dataset.authenticates;
      const fields = await window.braintree.dropin.create({
        authorization,
        container: "#card",
        ...(amount && { threeDSecure: true }),
      });
      const options = amount ? { threeDSecure: { amount } } : {};
      return {
        token: () =>
          fields.requestPaymentMethod(options).then(
            (made) => ({ token: made.nonce }),
            // Its own words are for who programs with it.
            () => ({ error: fields.isPaymentMethodRequestable() ? NOT_USED : INCOMPLETE }),
          ),
        clear: () => fields.clearSelectedPaymentMethod(),
      };
    },
  };

  function writeAmount() {
    const { minor, currency, decimals } = by("amount").dataset;
    const digits = Number(decimals);
    const padded = minor.padStart(digits + 1, "0");
    const split = padded.length - digits;
    const value = digits ? `${padded.slice(0, split)}.${padded.slice(split)}` : padded;
    const text = new Intl.NumberFormat(navigator.languages, {
      style: "currency",
      currency,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }).format(value);
    by("amount").textContent = text;
    by("pay-amount").textContent = text;
  }

  function say(message) {
    by("message").textContent = message ?? "";
    by("message").hidden = !message;
    if (message) {
      by("message").focus();
    }
  }

  function link(id, url) {
    by(id).hidden = !url;
    if (url) {
      by(id).firstElementChild.href = url;
    }
  }

  function show(standing) {
    number = standing.number ?? number;
    const isOpen = standing.step === "open";
    const isNew = main.dataset.step !== standing.step;
    form.hidden = !isOpen;
    if (isOpen) {
      by("status").textContent = "";
      prepare();
      say(standing.message);
      busy(false);
    } else {
      say(null);
      by("status").textContent = standing.message ?? "";
      if (isNew && ENDS.includes(standing.step)) {
        by("status").tabIndex = -1;
        by("status").focus();
      }
    }
    main.dataset.step = standing.step;
    link("to-bank", standing.action_url);
    link("to-shop", standing.return_url);
  }

  function busy(isBusy) {
    button.disabled = isBusy || card === null;
    form.setAttribute("aria-busy", String(isBusy));
  }

  async function ask(path, options) {
    const answer = await fetch(here + path, { credentials: "same-origin", ...options });
    return [answer, await answer.json()];
  }

  async function follow(leaves) {
    for (let look = 0; look < LOOKS_MAX; look += 1) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
      let standing;
      try {
        const [answer, said] = await ask("/state");
        if (!answer.ok) {
          continue;
        }
        standing = said;
      } catch {
        continue; // the network is away: what was sent is under way all the same
      }
      if (standing.step !== main.dataset.step) {
        show(standing);
      }
      if (standing.step === "action" && leaves && standing.action_url) {
        location.assign(standing.action_url);
        return;
      }
      if (ENDS.includes(standing.step)) {
        return;
      }
    }
    by("status").textContent = STILL_WAITING;
  }

  async function pay(event) {
    event.preventDefault();
    if (button.disabled) {
      return;
    }
    busy(true);
    say(null);
    const { token, error } = await card.token();
    if (!token) {
      busy(false);
      say(error);
      return;
    }
    by("status").textContent = "Your payment is being sent.";
    const body = JSON.stringify({ try: number, account: main.dataset.account, token });
    const headers = { "Content-Type": "application/json" };
    let said;
    try {
      const [answer, found] = await ask("/tries", { method: "POST", headers, body });
      if (!answer.ok) {
        by("status").textContent = "";
        busy(false);
        say(found.message);
        return;
      }
      said = found;
    } catch {
      // Whether it was taken in is not known, so what became of it is looked for.
      said = { step: "processing", message: OFFLINE };
      by("status").textContent = "";
      const [answer, found] = await ask("/state").catch(() => [{ ok: false }, null]);
      if (!answer.ok || found.step === "open") {
        busy(false);
        say(OFFLINE);
        return;
      }
      said = found;
    }
    card.clear();
    show(said);
    if (!ENDS.includes(said.step)) {
      await follow(true);
    }
  }

  // What starts the fields: at some gateways a worker makes it, a moment after the page was shown.
  async function key() {
    for (let look = 0; !main.dataset.key && look < KEY_LOOKS_MAX; look += 1) {
      by("status").textContent = LOADING;
      await new Promise((resolve) => setTimeout(resolve, KEY_LOOK_MILLISECONDS));
      const [answer, said] = await ask("/key").catch(() => [{ ok: false }, null]);
      main.dataset.key = (answer.ok && said.key) || "";
    }
    by("status").textContent = "";
    return main.dataset.key;
  }

  async function prepare() {
    if (card !== null || isPreparing) {
      return;
    }
    isPreparing = true;
    try {
      const fields = FIELDS[main.dataset.gateway];
      card = await fields(fields && (await key()));
      form.addEventListener("submit", pay);
      busy(false);
    } catch {
      say(NO_FIELDS);
    }
    isPreparing = false;
  }

  writeAmount();
  if (main.dataset.step === "open") {
    prepare();
  } else if (!ENDS.includes(main.dataset.step)) {
    follow(false);
  }
})();
