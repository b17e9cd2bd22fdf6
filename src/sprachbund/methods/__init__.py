"""Attribution methods: what turns inner products and norms of gradients into influence."""

from sprachbund.methods.tracin import Method, TracIn, TracInCosine, method_named

__all__ = ["Method", "TracIn", "TracInCosine", "method_named"]
