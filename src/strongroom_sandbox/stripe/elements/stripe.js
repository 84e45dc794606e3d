// The stand-in's Stripe.js: the part of its interface that a page with a card element needs.
// https://docs.stripe.com/js. The card element is a frame of this script's own origin; page and
// frame speak over one MessageChannel, and nothing that was typed ever passes through it.
(() => {
  "use strict";
  const ORIGIN = new URL(document.currentScript.src).origin;
  const TITLE = "Secure card payment input frame";
  const PASSED_ON = ["ready", "change", "focus", "blur"];

  class CardElement {
    #frame = null;
    #port = null;
    #listeners = new Map();
    #waiting = new Map();
    #asked = 0;
    #key;

    constructor(key) {
      this.#key = key;
    }

    mount(place) {
      const found = typeof place === "string" ? document.querySelector(place) : place;
      if (!found) {
        throw new Error("The selector you specified applies to no DOM element.");
      }
      const frame = document.createElement("iframe");
      frame.title = TITLE;
      frame.src = `${ORIGIN}/v3/card.html`;
      frame.style.cssText = "border:0;width:100%;display:block;height:14rem";
      frame.addEventListener("load", () => this.#speak(), { once: true });
      this.#frame = frame;
      found.replaceChildren(frame);
    }

    unmount() {
      this.#port?.close();
      this.#frame?.remove();
      this.#port = this.#frame = null;
    }

    destroy() {
      this.unmount();
    }

    on(event, listener) {
      this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
      return this;
    }

    focus() {
      this.#frame?.focus();
      this.#port?.postMessage({ type: "focus" });
    }

    clear() {
      this.#port?.postMessage({ type: "clear" });
    }

    update() {}

    tokenize() {
      if (!this.#port) {
        return Promise.resolve({
          error: {
            type: "invalid_request_error",
            message: "The card element is not ready yet.",
          },
        });
      }
      const id = ++this.#asked;
      this.#port.postMessage({ type: "tokenize", id });
      return new Promise((resolve) => this.#waiting.set(id, resolve));
    }

    #speak() {
      const channel = new MessageChannel();
      this.#port = channel.port1;
      channel.port1.onmessage = ({ data }) => this.#hear(data);
      this.#frame.contentWindow.postMessage({ type: "init", key: this.#key }, ORIGIN, [
        channel.port2,
      ]);
    }

    #hear(message) {
      if (message.type === "resize") {
        this.#frame.style.height = `${message.height}px`;
      } else if (message.type === "tokenized") {
        this.#waiting.get(message.id)?.(message.result);
        this.#waiting.delete(message.id);
      } else if (PASSED_ON.includes(message.type)) {
        for (const listener of this.#listeners.get(message.type) ?? []) {
          listener({ elementType: "card", ...message.event });
        }
      }
    }
  }

  const Stripe = (key) => {
    if (typeof key !== "string" || !/^pk_test_[A-Za-z0-9]+$/.test(key)) {
      throw new Error("Please call Stripe() with your publishable key.");
    }
    let card = null;
    return {
      elements: () => ({
        create(type) {
          if (type !== "card") {
            throw new Error(`This stand-in has no element of type ${type}.`);
          }
          card = new CardElement(key);
          return card;
        },
        getElement: (type) => (type === "card" ? card : null),
      }),
      async createPaymentMethod({ type, card: element }) {
        if (type !== "card" || !(element instanceof CardElement)) {
          throw new Error("createPaymentMethod wants type card and a card element.");
        }
        return element.tokenize();
      },
    };
  };
  Stripe.version = 3;
  window.Stripe = Stripe;
})();
