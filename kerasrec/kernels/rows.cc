// What TensorFlow's CPU kernels for rows of a table do one element at a time, or on one core.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace kerasrec {

using namespace tensorflow;

// Whether all of `n` rows lie in a table of `size` rows.
template <typename Index>
absl::Status InTable(const Index* rows, int64_t n, int64_t size) {
  for (int64_t i = 0; i < n; ++i)
    if (rows[i] < 0 || rows[i] >= size) return errors::InvalidArgument("row ", rows[i], " of ", size);
  return absl::OkStatus();
}

// vectors[i] = table[rows[i]].
REGISTER_OP("KerasrecReadRows")
    .Input("table: resource")
    .Input("rows: Index")
    .Output("vectors: T")
    .Attr("width: int")
    .Attr("T: {float, bfloat16}")
    .Attr("Index: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      int64_t width;
      TF_RETURN_IF_ERROR(c->GetAttr("width", &width));
      c->set_output(0, c->Matrix(c->Dim(c->input(1), 0), width));
      return absl::OkStatus();
    });

// The time goes into waiting for rows from memory: ask for them this many rows ahead.
constexpr int64_t kAhead = 16, kLine = 64 / sizeof(float);

template <typename T, typename Index>
class ReadRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    core::RefCountPtr<Var> table;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &table));
    tf_shared_lock lock(*table->mu());
    const int64_t size = table->tensor()->dim_size(0), width = table->tensor()->dim_size(1);
    const int64_t n = context->input(1).NumElements();
    const Index* rows = context->input(1).flat<Index>().data();
    OP_REQUIRES_OK(context, InTable(rows, n, size));
    Tensor* vectors = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({n, width}), &vectors));
    const float* from = table->tensor()->flat<float>().data();
    T* to = vectors->flat<T>().data();
    auto work = [=](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        if (i + kAhead < last)
          for (int64_t k = 0; k < width; k += kLine) __builtin_prefetch(from + rows[i + kAhead] * width + k);
        const float* __restrict row = from + rows[i] * width;
        T* __restrict vector = to + i * width;
        for (int64_t k = 0; k < width; ++k) vector[k] = static_cast<T>(row[k]);
      }
    };
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    Shard(pool->num_threads, pool->workers, n, 10 * width, work);
  }
};

// The distinct values among `rows`, in no particular order, and where among them each of `rows` is.
REGISTER_OP("KerasrecDistinctRows")
    .Input("rows: Index")
    .Output("distinct: Index")
    .Output("position: int32")
    .Attr("Index: {int32, int64}")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      c->set_output(0, c->Vector(c->UnknownDim()));
      c->set_output(1, c->input(0));
      return absl::OkStatus();
    });

template <typename Index>
class DistinctRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const int64_t n = context->input(0).NumElements();
    const Index* rows = context->input(0).flat<Index>().data();
    Tensor* positions = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({n}), &positions));
    int32_t* position = positions->flat<int32_t>().data();

    // Each worker collects the rows whose hash falls to it, in a hash table of its own that is at most half full.
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const int64_t parts = std::clamp<int64_t>(n / 8192, 1, pool->num_threads);
    std::vector<std::vector<Index>> found(parts);
    int shift = 63;
    for (int64_t slots = 2; slots < 2 * n && shift > 1; slots *= 2) --shift;
    auto part_of = [parts](uint64_t hash) { return static_cast<int64_t>((hash & 0xffffffff) * parts >> 32); };
    auto hash_of = [](Index row) { return static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15ull; };
    auto collect = [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        std::vector<int32_t> slot_of(int64_t{1} << (64 - shift), -1);
        const int64_t mask = static_cast<int64_t>(slot_of.size()) - 1;
        std::vector<Index>& mine = found[part];
        for (int64_t i = 0; i < n; ++i) {
          const uint64_t hash = hash_of(rows[i]);
          if (part_of(hash ^ hash >> 32) != part) continue;
          int64_t slot = hash >> shift;
          while (slot_of[slot] >= 0 && mine[slot_of[slot]] != rows[i]) slot = (slot + 1) & mask;
          if (slot_of[slot] < 0) {
            slot_of[slot] = static_cast<int32_t>(mine.size());
            mine.push_back(rows[i]);
          }
          position[i] = slot_of[slot];
        }
      }
    };
    Shard(parts, pool->workers, parts, 10 * n, collect);

    std::vector<int64_t> start(parts + 1, 0);
    for (int64_t part = 0; part < parts; ++part) start[part + 1] = start[part] + found[part].size();
    Tensor* distinct = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({start[parts]}), &distinct));
    Index* to = distinct->flat<Index>().data();
    for (int64_t part = 0; part < parts; ++part) std::copy(found[part].begin(), found[part].end(), to + start[part]);
    if (parts == 1) return;
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t hash = hash_of(rows[i]);
      position[i] += static_cast<int32_t>(start[part_of(hash ^ hash >> 32)]);
    }
  }
};

// sums[r] = the sum of values[i] over all i with position[i] == r; there are as many r as `distinct` has elements.
REGISTER_OP("KerasrecSumRows")
    .Input("values: T")
    .Input("position: int32")
    .Input("distinct: Index")
    .Output("sums: float")
    .Attr("T: {float, bfloat16}")
    .Attr("Index: {int32, int64}")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      shape_inference::ShapeHandle values;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &values));
      c->set_output(0, c->Matrix(c->Dim(c->input(2), 0), c->Dim(values, 1)));
      return absl::OkStatus();
    });

template <typename T>
class SumRows : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& values = context->input(0);
    const Tensor& position = context->input(1);
    OP_REQUIRES(context, values.dims() == 2, errors::InvalidArgument("values must be a matrix"));
    const int64_t n = values.dim_size(0), width = values.dim_size(1), rows = context->input(2).NumElements();
    OP_REQUIRES(context, position.NumElements() == n, errors::InvalidArgument("there must be a position a value"));
    const int32_t* place = position.flat<int32_t>().data();
    for (int64_t i = 0; i < n; ++i)
      OP_REQUIRES(context, place[i] >= 0 && place[i] < rows, errors::InvalidArgument("a position out of range"));
    Tensor* sums = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, width}), &sums));
    const T* from = values.flat<T>().data();
    float* to = sums->flat<float>().data();

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
    OP_REQUIRES_OK(context, InTable(rows, n, size));
    const float* gradients = gradient.flat<float>().data();
    const float rate = context->input(4).scalar<float>()(), epsilon = context->input(5).scalar<float>()();

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

#define REGISTER(NAME, TYPES, ...) REGISTER_KERNEL_BUILDER(Name("Kerasrec" #NAME).Device(DEVICE_CPU) TYPES, __VA_ARGS__)
#define INDEX(TYPE) .TypeConstraint<TYPE>("Index")
#define VALUE(TYPE) .TypeConstraint<TYPE>("T")

REGISTER(ReadRows, VALUE(float) INDEX(int32_t), ReadRows<float, int32_t>);
REGISTER(ReadRows, VALUE(float) INDEX(int64_t), ReadRows<float, int64_t>);
REGISTER(ReadRows, VALUE(bfloat16) INDEX(int32_t), ReadRows<bfloat16, int32_t>);
REGISTER(ReadRows, VALUE(bfloat16) INDEX(int64_t), ReadRows<bfloat16, int64_t>);
REGISTER(DistinctRows, INDEX(int32_t), DistinctRows<int32_t>);
REGISTER(DistinctRows, INDEX(int64_t), DistinctRows<int64_t>);
REGISTER(SumRows, VALUE(float), SumRows<float>);
REGISTER(SumRows, VALUE(bfloat16), SumRows<bfloat16>);
REGISTER(AdagradRows, INDEX(int32_t), AdagradRows<int32_t>);
REGISTER(AdagradRows, INDEX(int64_t), AdagradRows<int64_t>);

}  // namespace kerasrec
