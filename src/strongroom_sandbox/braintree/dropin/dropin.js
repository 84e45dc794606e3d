// The stand-in's Drop-in: the part of Braintree's interface that a page with card fields needs.
// https://developer.paypal.com/braintree/docs/guides/drop-in. The fields are a frame of this
// script's own origin; page and frame speak over one MessageChannel, and nothing that was typed
// ever passes through it.
(() => {
  "use strict";
  const ORIGIN = new URL(document.currentScript.src).origin;
  const PATH = `${ORIGIN}/web/dropin/1/`;
  const TITLE = "Secure card payment input frame";
  const CHALLENGE_TITLE = "Authentication by your bank";

  class DropinError extends Error {
    constructor(message, code) {
      super(message);
      this.name = "DropinError";
      this.code = code;
    }
  }

  function framed(path, title, height) {
    const frame = document.createElement("iframe");
    frame.title = title;
    frame.src = path;
    frame.style.cssText = `border:0;width:100%;display:block;height:${height}`;
    return frame;
  }

  class Dropin {
    #container;
    #authorization;
    #frame = framed(`${PATH}fields.html`, TITLE, "14rem");
    #port = null;
    #listeners = new Map();
    #waiting = new Map();
    #asked = 0;
    #requestable = false;

    constructor(container, authorization) {
      this.#container = container;
      this.#authorization = authorization;
    }

    start() {
      return new Promise((resolve, reject) => {
        this.#frame.addEventListener("load", () => this.#speak(resolve, reject), { once: true });
        this.#container.replaceChildren(this.#frame);
      });
    }

    on(event, listener) {
      this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    }

    isPaymentMethodRequestable() {
      return this.#requestable;
    }

    clearSelectedPaymentMethod() {
      this.#port.postMessage({ type: "clear" });
    }

    requestPaymentMethod(options = {}) {
      const id = ++this.#asked;
      this.#port.postMessage({ type: "request", id, threeDSecure: options.threeDSecure ?? null });
      return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    }

    async teardown() {
      this.#port?.close();
      this.#frame.remove();
    }

    #speak(resolve, reject) {
      const channel = new MessageChannel();
      this.#port = channel.port1;
      channel.port1.onmessage = ({ data }) => this.#hear(data, resolve, reject);
      this.#frame.contentWindow.postMessage(
        { type: "init", authorization: this.#authorization },
        ORIGIN,
        [channel.port2],
      );
    }

    #hear(message, resolve, reject) {
      const waiting = this.#waiting.get(message.id);
      switch (message.type) {
        case "ready":
          resolve(this);
          break;
        case "refused":
          reject(new DropinError(message.message, "CLIENT_AUTHORIZATION_INVALID"));
          break;
        case "resize":
          this.#frame.style.height = `${message.height}px`;
          break;
        case "requestable":
          this.#tell(message.requestable);
          break;
        case "challenge":
          this.#challenge(message);
          break;
        case "result":
          this.#waiting.delete(message.id);
          if (message.error) {
            waiting?.reject(new DropinError(message.error.message, message.error.code));
          } else {
            waiting?.resolve(message.payload);
          }
          break;
      }
    }

    #tell(requestable) {
      if (requestable === this.#requestable) {
        return;
      }
      this.#requestable = requestable;
      const event = requestable ? "paymentMethodRequestable" : "noPaymentMethodRequestable";
      for (const listener of this.#listeners.get(event) ?? []) {
        listener({ type: "CreditCard", paymentMethodIsSelected: false });
      }
    }

    #challenge({ id, token }) {
      const dialog = document.createElement("dialog");
      dialog.style.cssText = "width:min(28rem,95vw);padding:0;border:0";
      dialog.setAttribute("aria-label", CHALLENGE_TITLE);
      const frame = framed(`${PATH}challenge.html#${token}`, CHALLENGE_TITLE, "22rem");
      let isOver = false;
      const end = (outcome) => {
        if (isOver) {
          return;
        }
        isOver = true;
        window.removeEventListener("message", hear);
        dialog.close();
        dialog.remove();
        this.#port.postMessage({ type: "challenged", id, token, outcome });
      };
      const hear = (event) => {
        if (event.origin === ORIGIN && event.source === frame.contentWindow) {
          end(event.data?.type === "done" ? "done" : "canceled");
        }
      };
      window.addEventListener("message", hear);
      // A browser may close it without a "cancel" before.
      dialog.addEventListener("close", () => end("canceled"));
      dialog.append(frame);
      document.body.append(dialog);
      dialog.showModal();
    }
  }

  async function create(options) {
    const given = options.container ?? options.selector;
    const container = typeof given === "string" ? document.querySelector(given) : given;
    if (!container) {
      throw new DropinError("options.container must reference a valid DOM node.", "NO_CONTAINER");
    }
    if (typeof options.authorization !== "string") {
      throw new DropinError("options.authorization is required.", "NO_AUTHORIZATION");
    }
    return new Dropin(container, options.authorization).start();
  }

  window.braintree = Object.freeze({ dropin: Object.freeze({ create, VERSION: "1" }) });
})();
