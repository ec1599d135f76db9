"""Passes orders whose amount is above the setting min."""

from sluice import Binding, Filter, Message, Needs, Verdict


class BigOrders(Filter):
    def configure(self, binding: Binding, needs: Needs) -> None:
        self.amount = needs.property("amount")
        needs.pure = True
        text = binding.param("min", "100")
        try:
            self.min = int(text)
        except ValueError:
            raise ValueError(f"the setting min is no number: {text}") from None

    def filter(self, message: Message) -> Verdict:
        amount = message.int(self.amount)
        return Verdict.PASS if amount is not None and amount > self.min else Verdict.DROP
