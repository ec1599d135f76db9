// Passes orders whose amount is above the setting `min`.
import { filter, Verdict } from "./sluice.js";

let amount;
let min = 100;

export const { configure, filterBatch } = filter({
  configure(binding, needs) {
    amount = needs.property("amount");
    needs.pure = true;
    const text = binding.param("min") ?? "100";
    min = Number(text);
    if (!Number.isInteger(min)) throw `the setting min is no number: ${text}`;
  },

  filter(message) {
    return message.int(amount) > min ? Verdict.Pass : Verdict.Drop;
  },
});
