"""Ask for memory before it is needed: a list visited in order names what will be read next."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def prefetch(context, array, index):  # noqa: ARG001
    """Start to load the cache line of `array[index]`, contiguous, in range; computes nothing."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        at = builder.bitcast(builder.gep(view.data, [arguments[1]]), byte)
        builder.call(call, [at, word(0), word(3), word(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
