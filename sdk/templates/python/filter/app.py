"""The exports of the component; plugin.py is what you write."""

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Needs as Wanted

from plugin import BigOrders
from sluice import Binding, Block, Message, Needs

plugin = BigOrders()


class WitWorld(wit_world.WitWorld):
    def configure(self, b):
        needs = Needs()
        try:
            plugin.configure(Binding(b.topic, b.group, b.params), needs)
        except Exception as refusal:
            raise Err(str(refusal))
        return Wanted(needs.properties, needs.body, int(needs.fields), needs.pure)

    def filter_batch(self, block):
        block = Block(block)
        return bytes(plugin.filter(Message(block, row)) for row in range(block.rows))
