// What TensorFlow's CPU kernels for rows of a table do one element at a time, or on one core.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace kerasrec {

using namespace tensorflow;

// sums[r] = the sum of values[i] over all i with position[i] == r; as many rows as `like` has.
REGISTER_OP("KerasrecSumRows")
    .Input("values: T")
    .Input("position: int32")
    .Input("like: float")
    .Output("sums: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(2));
      return absl::OkStatus();
    });

template <typename T>
class SumRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& values = context->input(0);
    const Tensor& position = context->input(1);
    const Tensor& like = context->input(2);
    OP_REQUIRES(context, values.dims() == 2 && like.dims() == 2 && values.dim_size(1) == like.dim_size(1),
                errors::InvalidArgument("values and like must be matrices of one width"));
    const int64_t n = values.dim_size(0), width = values.dim_size(1), rows = like.dim_size(0);
    OP_REQUIRES(context, position.NumElements() == n, errors::InvalidArgument("a position for each value"));
    Tensor* sums = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, like.shape(), &sums));

    const T* from = values.flat<T>().data();
    const int32_t* place = position.flat<int32_t>().data();
    float* to = sums->flat<float>().data();
    for (int64_t i = 0; i < n; ++i)
      OP_REQUIRES(context, place[i] >= 0 && place[i] < rows, errors::InvalidArgument("a position out of range"));

    // Each worker owns a range of rows and passes over all positions, so no two write to one row.
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const int64_t parts = std::clamp<int64_t>(n * width / 65536, 1, pool->num_threads);
    auto work = [=](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        const int64_t low = rows * part / parts, high = rows * (part + 1) / parts;
        std::memset(to + low * width, 0, (high - low) * width * sizeof(float));
        for (int64_t i = 0; i < n; ++i) {
          if (place[i] < low || place[i] >= high) continue;
          float* __restrict sum = to + place[i] * width;
          const T* __restrict value = from + i * width;
          for (int64_t k = 0; k < width; ++k) sum[k] += static_cast<float>(value[k]);
        }
      }
    };
    Shard(parts, pool->workers, parts, n * width, work);
  }
};

REGISTER_KERNEL_BUILDER(Name("KerasrecSumRows").Device(DEVICE_CPU).TypeConstraint<float>("T"), SumRows<float>);
REGISTER_KERNEL_BUILDER(Name("KerasrecSumRows").Device(DEVICE_CPU).TypeConstraint<bfloat16>("T"), SumRows<bfloat16>);

// For distinct rows r: accumulator[r] += gradient^2, table[r] -= learning_rate * gradient / sqrt(accumulator[r] + eps).
REGISTER_OP("KerasrecAdagradRows")
    .Input("table: resource")
    .Input("accumulator: resource")
    .Input("rows: Index")
    .Input("gradient: float")
    .Input("learning_rate: float")
    .Input("epsilon: float")
    .Attr("Index: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(shape_inference::NoOutputs);

// The variable's values, to be written in place: alone if a reader still holds them, and from now on readers of the
// whole take a copy, as TensorFlow's own sparse updates arrange it. Called under the variable's lock.
absl::Status Writable(OpKernelContext* context, Var* variable, float** values) {
  Tensor* tensor = variable->tensor();
  if (!variable->copy_on_read_mode.load()) {
    if (!tensor->RefCountIsOne()) {
      Tensor alone;
      TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &alone));
      std::memcpy(alone.data(), tensor->data(), tensor->TotalBytes());
      *tensor = alone;
    }
    variable->copy_on_read_mode.store(true);
  }
  *values = tensor->flat<float>().data();
  return absl::OkStatus();
}

template <typename Index>
class AdagradRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    core::RefCountPtr<Var> table, accumulator;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &table));
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 1), &accumulator));
    mutex_lock table_lock(*table->mu());
    mutex_lock accumulator_lock(*accumulator->mu());
    const Tensor& gradient = context->input(3);
    const int64_t size = table->tensor()->dim_size(0), width = table->tensor()->dim_size(1);
    const int64_t n = context->input(2).NumElements();
    OP_REQUIRES(context, accumulator->tensor()->shape() == table->tensor()->shape(),
                errors::InvalidArgument("the accumulator is not of the table's shape"));
    OP_REQUIRES(context, gradient.shape() == TensorShape({n, width}),
                errors::InvalidArgument("gradient must be (rows, width), not ", gradient.shape().DebugString()));
    float *weights = nullptr, *squares = nullptr;
    OP_REQUIRES_OK(context, Writable(context, table.get(), &weights));
    OP_REQUIRES_OK(context, Writable(context, accumulator.get(), &squares));
    const Index* rows = context->input(2).flat<Index>().data();
    for (int64_t i = 0; i < n; ++i)
      OP_REQUIRES(context, rows[i] >= 0 && rows[i] < size, errors::InvalidArgument("row ", rows[i], " of ", size));
    const float* gradients = gradient.flat<float>().data();
    const float rate = context->input(4).scalar<float>()(), epsilon = context->input(5).scalar<float>()();

    // The time goes into waiting for rows from memory: ask for them some rows ahead.
    constexpr int64_t kAhead = 16, kLine = 64 / sizeof(float);
    auto work = [=](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        if (i + kAhead < last) {
          const int64_t next = rows[i + kAhead] * width;
          for (int64_t k = 0; k < width; k += kLine) {
            __builtin_prefetch(weights + next + k, 1);
            __builtin_prefetch(squares + next + k, 1);
          }
        }
        float* __restrict w = weights + rows[i] * width;
        float* __restrict a = squares + rows[i] * width;
        const float* __restrict g = gradients + i * width;
        for (int64_t k = 0; k < width; ++k) {
          a[k] += g[k] * g[k];
          w[k] -= rate * g[k] / std::sqrt(a[k] + epsilon);
        }
      }
    };
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    Shard(pool->num_threads, pool->workers, n, 20 * width, work);
  }
};

REGISTER_KERNEL_BUILDER(Name("KerasrecAdagradRows").Device(DEVICE_CPU).TypeConstraint<int32_t>("Index"),
                        AdagradRows<int32_t>);
REGISTER_KERNEL_BUILDER(Name("KerasrecAdagradRows").Device(DEVICE_CPU).TypeConstraint<int64_t>("Index"),
                        AdagradRows<int64_t>);

}  // namespace kerasrec
