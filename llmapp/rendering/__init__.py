"""Text that grows becomes settled, safe HTML blocks. A leaf: no Django, no clock, no network, no other ring."""
