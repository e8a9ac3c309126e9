"""What compiled loops make of `trailing_zeros`, `prefetch` and `put`."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.cpython.unsafe import numbers
from numba.extending import intrinsic, overload

from engine.kernels import fused


@overload(fused.trailing_zeros)
def _trailing_zeros(bits):  # noqa: ARG001
    return lambda bits: numbers.trailing_zeros(bits)


@overload(fused.put)
def _put(to, values):  # noqa: ARG001
    if to.ndim == 1:

        def filled(to, values):
            for i in range(len(to)):
                to[i] = values[i]

    else:

        def filled(to, values):
            for i in range(len(to)):
                fused.put(to[i], values[i])

    return filled


@overload(fused.prefetch)
def _prefetch(array, index):  # noqa: ARG001
    return lambda array, index: _load(array, index)


@intrinsic
def _load(context, array, index):  # noqa: ARG001
    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        at = builder.bitcast(builder.gep(view.data, [arguments[1]]), byte)
        builder.call(call, [at, word(0), word(3), word(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
