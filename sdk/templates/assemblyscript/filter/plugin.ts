// Passes orders whose amount is above the setting `min`.
import { Binding, Filter, Message, Needs, Verdict, install } from "./sluice";
export { cabi_realloc, configure, filterBatch } from "./sluice";

class BigOrders extends Filter {
  amount: i32 = 0;
  min: i64 = 100;

  configure(binding: Binding, needs: Needs): string | null {
    this.amount = needs.property("amount");
    needs.pure = true;
    const min = binding.param("min");
    if (min !== null) {
      const number = I64.parseInt(min);
      if (number.toString() != min) return "the setting min is no number";
      this.min = number;
    }
    return null;
  }

  filter(message: Message): Verdict {
    return message.int(this.amount, i64.MIN_VALUE) > this.min ? Verdict.Pass : Verdict.Drop;
  }
}

install(new BigOrders());
