// CPU kernels for rows of embedding tables; TensorFlow's own work element by element, or on one core.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace kerasrec {

using namespace tensorflow;

// Returns the first of `n` values that is not in [0, size), or null. The loop has no branches, so it is vectorised.
template <typename Value>
const Value* FirstOutOfRange(const Value* values, int64_t n, int64_t size) {
  bool out_of_range = false;
  for (int64_t i = 0; i < n; ++i)
    out_of_range |= static_cast<uint64_t>(static_cast<int64_t>(values[i])) >= static_cast<uint64_t>(size);
  if (!out_of_range) return nullptr;
  return std::find_if(values, values + n, [size](Value v) { return v < 0 || v >= size; });
}

template <typename Value>
bool IsSorted(const Value* values, int64_t n) {
  bool descends = false;
  for (int64_t i = 0; i + 1 < n; ++i) descends |= values[i + 1] < values[i];
  return !descends;
}

template <typename Row>
absl::Status CheckRows(const Row* rows, int64_t n, int64_t size) {
  const Row* row = FirstOutOfRange(rows, n, size);
  return row ? errors::InvalidArgument("row ", *row, " is out of range [0, ", size, ")") : absl::OkStatus();
}

// Maps the ids of N features to rows of a stack of tables. The rows of all features are concatenated and divided into
// bags, whose vectors are combined: bag b is rows [bags[b], bags[b + 1]), and feature f's bags are
// [first_bag[f], first_bag[f + 1]). A feature's bags have `hotness` ids each (if `padded`, zeros are left out), or, with
// hotness 0, they are given by its `splits`.
REGISTER_OP("KerasrecFindRows")
    .Input("ids: N * Index")
    .Input("splits: N * int64")
    .Output("rows: Row")
    .Output("bags: int32")
    .Output("first_bag: int32")
    .Attr("N: int >= 1")
    .Attr("Index: {int32, int64}")
    .Attr("Row: {int32, int64}")
    .Attr("sizes: list(int)")
    .Attr("offsets: list(int)")
    .Attr("hotness: list(int)")
    .Attr("padded: list(bool)")
    .Attr("features: list(string)")
    .Attr("tables: list(string)")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      int64_t features;
      TF_RETURN_IF_ERROR(c->GetAttr("N", &features));
      c->set_output(0, c->Vector(c->UnknownDim()));
      c->set_output(1, c->Vector(c->UnknownDim()));
      c->set_output(2, c->Vector(features + 1));
      return absl::OkStatus();
    });

template <typename Index, typename Row>
class FindRows : public OpKernel {
 public:
  explicit FindRows(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("sizes", &sizes_));
    OP_REQUIRES_OK(context, context->GetAttr("offsets", &offsets_));
    OP_REQUIRES_OK(context, context->GetAttr("hotness", &hotness_));
    OP_REQUIRES_OK(context, context->GetAttr("padded", &padded_));
    OP_REQUIRES_OK(context, context->GetAttr("features", &features_));
    OP_REQUIRES_OK(context, context->GetAttr("tables", &tables_));
  }

  void Compute(OpKernelContext* context) override {
    OpInputList ids, splits;
    OP_REQUIRES_OK(context, context->input_list("ids", &ids));
    OP_REQUIRES_OK(context, context->input_list("splits", &splits));
    const int64_t features = ids.size();
    std::vector<int64_t> bags(features + 1, 0), rows(features + 1, 0);
    std::vector<const Index*> out_of_range(features, nullptr);
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    int64_t all = 0;
    for (int64_t f = 0; f < features; ++f) all += ids[f].NumElements();
    auto in_parallel = [&](auto work) { Shard(pool->num_threads, pool->workers, features, 2 * all / features, work); };

    in_parallel([&](int64_t first, int64_t last) {
      for (int64_t f = first; f < last; ++f) {
        const int64_t n = ids[f].NumElements();
        const Index* id = ids[f].flat<Index>().data();
        out_of_range[f] = FirstOutOfRange(id, n, sizes_[f]);
        bags[f + 1] = hotness_[f] ? n / hotness_[f] : splits[f].NumElements() - 1;
        rows[f + 1] = padded_[f] ? n - std::count(id, id + n, Index{0}) : n;
      }
    });
    for (int64_t f = 0; f < features; ++f) {
      const int64_t n = ids[f].NumElements();
      OP_REQUIRES(context, !out_of_range[f], errors::InvalidArgument("feature '", features_[f], "': id ",
                  *out_of_range[f], " is out of range [0, ", sizes_[f], ") of table '", tables_[f], "'"));
      OP_REQUIRES(context, hotness_[f] ? n % hotness_[f] == 0 : Cuts(splits[f], n),
                  errors::InvalidArgument("feature '", features_[f], "': ", n, " ids cannot be split into lists"));
      bags[f + 1] += bags[f];
      rows[f + 1] += rows[f];
    }
    OP_REQUIRES(context, rows[features] < int64_t{1} << 31 && bags[features] < int64_t{1} << 31,
                errors::InvalidArgument(rows[features], " ids in a batch; expected fewer than 2^31"));

    Tensor *to_rows = nullptr, *to_bags = nullptr, *to_first = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows[features]}), &to_rows));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({bags[features] + 1}), &to_bags));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({features + 1}), &to_first));
    std::copy(bags.begin(), bags.end(), to_first->flat<int32_t>().data());
    to_bags->flat<int32_t>().data()[bags[features]] = rows[features];
    in_parallel([&](int64_t first, int64_t last) {
      for (int64_t f = first; f < last; ++f)
        Write(f, ids[f].flat<Index>().data(), hotness_[f] ? nullptr : splits[f].flat<int64_t>().data(),
              bags[f + 1] - bags[f], rows[f], to_rows->flat<Row>().data(), to_bags->flat<int32_t>().data() + bags[f]);
    });
  }

 private:
  static bool Cuts(const Tensor& splits, int64_t n) {
    const int64_t* cut = splits.flat<int64_t>().data();
    const int64_t cuts = splits.NumElements();
    return cuts && cut[0] == 0 && cut[cuts - 1] == n && IsSorted(cut, cuts);
  }

  void Write(int64_t f, const Index* ids, const int64_t* splits, int64_t bags, int64_t row, Row* __restrict rows,
             int32_t* __restrict bag) {
    if (hotness_[f] == 1 && !padded_[f]) {
      for (int64_t b = 0; b < bags; ++b) rows[row + b] = static_cast<Row>(ids[b] + offsets_[f]);
      for (int64_t b = 0; b < bags; ++b) bag[b] = row + b;
      return;
    }
    for (int64_t b = 0; b < bags; ++b) {
      bag[b] = row;
      const int64_t first = splits ? splits[b] : b * hotness_[f], last = splits ? splits[b + 1] : first + hotness_[f];
      for (int64_t i = first; i < last; ++i)
        if (ids[i] || !padded_[f]) rows[row++] = static_cast<Row>(ids[i] + offsets_[f]);
    }
  }

  std::vector<int64_t> sizes_, offsets_, hotness_;
  std::vector<bool> padded_;
  std::vector<std::string> features_, tables_;
};

// How the vectors of a bag are combined; the numbers are those of _COMBINERS in __init__.py.
enum Combiner { kSum = 0, kMean = 1, kSqrtN = 2 };

// The output of FindRows, with a combiner and weights for each feature.
struct Bags {
  const int32_t* bag;        // (bags + 1,)
  const int32_t* first_bag;  // (features + 1,)
  int64_t rows, bags, features;
  std::vector<int64_t> combiners;
  std::vector<const float*> weights;  // of each feature's rows; null if all are 1

  absl::Status Read(OpKernelContext* context, int64_t row_count, const std::vector<int64_t>& feature_combiners) {
    const Tensor *cuts, *firsts;
    OpInputList weight_list;
    TF_RETURN_IF_ERROR(context->input("bags", &cuts));
    TF_RETURN_IF_ERROR(context->input("first_bag", &firsts));
    TF_RETURN_IF_ERROR(context->input_list("weights", &weight_list));
    rows = row_count, bags = cuts->NumElements() - 1, features = firsts->NumElements() - 1, combiners = feature_combiners;
    bag = cuts->flat<int32_t>().data(), first_bag = firsts->flat<int32_t>().data();
    if (bags < 0 || features != static_cast<int64_t>(feature_combiners.size()) || first_bag[0] ||
        first_bag[features] != bags || !IsSorted(first_bag, features + 1) || bag[0] || bag[bags] != rows ||
        !IsSorted(bag, bags + 1))
      return errors::InvalidArgument("bags do not match ", rows, " rows");
    for (int64_t f = 0; f < features; ++f) {
      const int64_t n = weight_list[f].NumElements(), mine = bag[first_bag[f + 1]] - bag[first_bag[f]];
      if (n && n != mine) return errors::InvalidArgument(n, " weights for ", mine, " ids");
      weights.push_back(n ? weight_list[f].flat<float>().data() - bag[first_bag[f]] : nullptr);
    }
    return absl::OkStatus();
  }

  int64_t FeatureOf(int64_t b) const {
    return std::upper_bound(first_bag, first_bag + features + 1, b) - first_bag - 1;
  }

  float Scale(int64_t f, int64_t b) const {
    const float n = bag[b + 1] - bag[b];
    return combiners[f] == kSum || n == 0 ? 1 : 1 / (combiners[f] == kMean ? n : std::sqrt(n));
  }
};

absl::Status BagsShape(shape_inference::InferenceContext* c) {
  int64_t features, width;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &features));
  TF_RETURN_IF_ERROR(c->GetAttr("width", &width));
  for (int64_t f = 0; f < features; ++f) c->set_output(f, c->Matrix(c->UnknownDim(), width));
  return absl::OkStatus();
}

// Returns vectors[f][b], the combined rows of bag b of feature f.
REGISTER_OP("KerasrecLookUp")
    .Input("table: resource")
    .Input("rows: Row")
    .Input("bags: int32")
    .Input("first_bag: int32")
    .Input("weights: N * float")
    .Output("vectors: N * T")
    .Attr("N: int >= 1")
    .Attr("T: {float, bfloat16}")
    .Attr("Row: {int32, int64}")
    .Attr("width: int")
    .Attr("combiners: list(int)")
    .Attr("tables: list(int)")  // the table of each feature; for the gradient
    .SetIsStateful()
    .SetShapeFn(BagsShape);

// Reading rows from memory takes most of the time: prefetch them this many rows ahead.
constexpr int64_t kAhead = 32, kLine = 64 / sizeof(float);

inline void Prefetch(const float* row, int64_t width, bool write) {
  for (int64_t k = 0; k < width; k += kLine)
    if (write) __builtin_prefetch(row + k, 1); else __builtin_prefetch(row + k);
}

// Calls work(Width<w>()) for common widths, so that a sum of rows stays in registers; otherwise work(Width<0>()).
template <int64_t w>
using Width = std::integral_constant<int64_t, w>;

template <typename Work>
void ForWidth(int64_t width, Work work) {
  switch (width) {
    case 8: return work(Width<8>());
    case 16: return work(Width<16>());
    case 32: return work(Width<32>());
    case 64: return work(Width<64>());
    case 128: return work(Width<128>());
    default: return work(Width<0>());
  }
}

template <typename T, typename Row>
class LookUp : public OpKernel {
 public:
  explicit LookUp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("combiners", &combiners_));
  }

  void Compute(OpKernelContext* context) override {
    core::RefCountPtr<Var> table;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &table));
    tf_shared_lock lock(*table->mu());
    const int64_t size = table->tensor()->dim_size(0), width = table->tensor()->dim_size(1);
    const int64_t n = context->input(1).NumElements();
    const Row* rows = context->input(1).flat<Row>().data();
    const float* from = table->tensor()->flat<float>().data();
    OP_REQUIRES_OK(context, CheckRows(rows, n, size));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Read(context, n, combiners_));
    std::vector<T*> to(bags.features);
    for (int64_t f = 0; f < bags.features; ++f) {
      Tensor* vectors = nullptr;
      const int64_t mine = bags.first_bag[f + 1] - bags.first_bag[f];
      OP_REQUIRES_OK(context, context->allocate_output(f, TensorShape({mine, width}), &vectors));
      to[f] = vectors->flat<T>().data() - bags.first_bag[f] * width;
    }
    auto work = [&](int64_t first, int64_t last) {
      std::vector<float> sum(width);
      ForWidth(width, [&](auto fixed) {
        constexpr int64_t kWidth = fixed;
        const int64_t columns = kWidth ? kWidth : width;
        float own[kWidth ? kWidth : 1];
        float* __restrict total = kWidth ? own : sum.data();
        for (int64_t b = first, f = bags.FeatureOf(first); b < last; ++b) {
          while (b >= bags.first_bag[f + 1]) ++f;
          const float* weight = bags.weights[f];
          const int64_t begin = bags.bag[b], end = bags.bag[b + 1];
          T* __restrict vector = to[f] + b * columns;
          if (end - begin == 1 && !weight) {
            if (begin + kAhead < n) Prefetch(from + rows[begin + kAhead] * columns, columns, false);
            const float* __restrict row = from + rows[begin] * columns;
            for (int64_t k = 0; k < columns; ++k) vector[k] = static_cast<T>(row[k]);
            continue;
          }
          std::fill(total, total + columns, 0.0f);
          for (int64_t i = begin; i < end; ++i) {
            if (i + kAhead < n) Prefetch(from + rows[i + kAhead] * columns, columns, false);
            const float* __restrict row = from + rows[i] * columns;
            const float share = weight ? weight[i] : 1.0f;
            for (int64_t k = 0; k < columns; ++k) total[k] += share * row[k];
          }
          const float scale = bags.Scale(f, b);
          for (int64_t k = 0; k < columns; ++k) vector[k] = static_cast<T>(scale * total[k]);
        }
      });
    };
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    Shard(pool->num_threads, pool->workers, bags.bags, 10 * width * (1 + n / std::max<int64_t>(1, bags.bags)), work);
  }

 private:
  std::vector<int64_t> combiners_;
};

// The gradient of LookUp with respect to its weights: the dot product of the bag's upstream gradient and the row. Empty
// for features without weights.
REGISTER_OP("KerasrecLookUpWeightsGradient")
    .Input("table: resource")
    .Input("rows: Row")
    .Input("bags: int32")
    .Input("first_bag: int32")
    .Input("weights: N * float")
    .Input("upstream: N * T")
    .Output("gradient: N * float")
    .Attr("N: int >= 1")
    .Attr("T: {float, bfloat16}")
    .Attr("Row: {int32, int64}")
    .Attr("combiners: list(int)")
    .SetIsStateful()
    .SetShapeFn(shape_inference::UnknownShape);

template <typename T, typename Row>
class LookUpWeightsGradient : public OpKernel {
 public:
  explicit LookUpWeightsGradient(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("combiners", &combiners_));
  }

  void Compute(OpKernelContext* context) override {
    core::RefCountPtr<Var> table;
    OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, 0), &table));
    tf_shared_lock lock(*table->mu());
    const int64_t size = table->tensor()->dim_size(0), width = table->tensor()->dim_size(1);
    const int64_t n = context->input(1).NumElements();
    const Row* rows = context->input(1).flat<Row>().data();
    const float* from = table->tensor()->flat<float>().data();
    OP_REQUIRES_OK(context, CheckRows(rows, n, size));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Read(context, n, combiners_));
    OpInputList upstream;
    OP_REQUIRES_OK(context, context->input_list("upstream", &upstream));
    for (int64_t f = 0; f < bags.features; ++f) {
      const int64_t first = bags.first_bag[f], mine = bags.first_bag[f + 1] - first;
      Tensor* gradient = nullptr;
      const int64_t ids = bags.weights[f] ? bags.bag[first + mine] - bags.bag[first] : 0;
      OP_REQUIRES_OK(context, context->allocate_output(f, TensorShape({ids}), &gradient));
      if (!ids) continue;
      OP_REQUIRES(context, upstream[f].shape() == TensorShape({mine, width}),
                  errors::InvalidArgument("upstream must have shape (bags, width)"));
      const T* above = upstream[f].flat<T>().data() - first * width;
      float* to = gradient->flat<float>().data() - bags.bag[first];
      auto work = [&](int64_t low, int64_t high) {
        for (int64_t b = first + low; b < first + high; ++b) {
          const float scale = bags.Scale(f, b);
          for (int64_t i = bags.bag[b]; i < bags.bag[b + 1]; ++i) {
            if (i + kAhead < n) Prefetch(from + rows[i + kAhead] * width, width, false);
            float dot = 0;
            for (int64_t k = 0; k < width; ++k)
              dot += from[rows[i] * width + k] * static_cast<float>(above[b * width + k]);
            to[i] = scale * dot;
          }
        }
      };
      auto* pool = context->device()->tensorflow_cpu_worker_threads();
      Shard(pool->num_threads, pool->workers, mine, 10 * width * (1 + ids / mine), work);
    }
  }

 private:
  std::vector<int64_t> combiners_;
};

// Returns the distinct values of `rows`, and the position of each row among them. `tables` has the table of each
// feature: no row is in two tables, so tables are processed one by one, and the distinct rows of table t are
// [first_row[t], first_row[t + 1]).
REGISTER_OP("KerasrecDistinctRows")
    .Input("rows: Row")
    .Input("bags: int32")
    .Input("first_bag: int32")
    .Output("distinct: Row")
    .Output("position: int32")
    .Output("first_row: int32")
    .Attr("Row: {int32, int64}")
    .Attr("tables: list(int)")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      c->set_output(0, c->Vector(c->UnknownDim()));
      c->set_output(1, c->input(0));
      c->set_output(2, c->Vector(c->UnknownDim()));
      return absl::OkStatus();
    });

// Returns the features of each table; tables are numbered in the order of their first features.
std::vector<std::vector<int64_t>> FeaturesOf(const std::vector<int64_t>& tables) {
  std::vector<std::vector<int64_t>> features;
  for (size_t f = 0; f < tables.size(); ++f) {
    if (tables[f] == static_cast<int64_t>(features.size())) features.emplace_back();
    if (tables[f] >= 0 && tables[f] < static_cast<int64_t>(features.size())) features[tables[f]].push_back(f);
  }
  return features;
}

// Part `part` of the `parts` into which a table's work is divided.
struct WorkItem {
  int64_t table, part, parts;
};

// Divides a table only if it would keep one thread busy longer than the others, because each part passes over all ids.
std::vector<WorkItem> Divide(const std::vector<int64_t>& ids, int64_t threads) {
  const int64_t all = std::accumulate(ids.begin(), ids.end(), int64_t{1});
  std::vector<WorkItem> items;
  for (int64_t t = 0; t < static_cast<int64_t>(ids.size()); ++t) {
    const int64_t parts = std::clamp<int64_t>(std::min(ids[t] / 16384, 4 * threads * ids[t] / all), 1, threads);
    for (int64_t part = 0; part < parts; ++part) items.push_back({t, part, parts});
  }
  return items;
}

template <typename Row>
class DistinctRows : public OpKernel {
 public:
  explicit DistinctRows(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int64_t> tables;
    OP_REQUIRES_OK(context, context->GetAttr("tables", &tables));
    features_ = FeaturesOf(tables);
  }

  void Compute(OpKernelContext* context) override {
    const int64_t n = context->input(0).NumElements(), tables = features_.size();
    const Row* rows = context->input(0).flat<Row>().data();
    const int32_t* bag = context->input(1).flat<int32_t>().data();
    const int32_t* first_bag = context->input(2).flat<int32_t>().data();
    std::vector<int64_t> size(tables, 0);
    int64_t all = 0;
    for (int64_t t = 0; t < tables; ++t) {
      for (int64_t f : features_[t]) {
        const int64_t last = first_bag[f + 1] < context->input(1).NumElements() ? bag[first_bag[f + 1]] : -1;
        OP_REQUIRES(context, bag[first_bag[f]] <= last && last <= n,
                    errors::InvalidArgument("bags and rows do not match"));
        size[t] += last - bag[first_bag[f]];
      }
      all += size[t];
    }
    OP_REQUIRES(context, all == n, errors::InvalidArgument("bags and rows do not match"));
    Tensor *positions = nullptr, *firsts = nullptr, *distinct = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({n}), &positions));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({tables + 1}), &firsts));
    int32_t* position = positions->flat<int32_t>().data();

    // Each work item collects the rows whose hash belongs to it in a hash table that is at most half full.
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const std::vector<WorkItem> items = Divide(size, pool->num_threads);
    std::vector<std::vector<Row>> distinct_rows(items.size());
    auto hash_of = [](Row row) { return static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15ull; };
    auto mine = [](const WorkItem& item, uint64_t hash) {
      return item.parts == 1 || static_cast<int64_t>(((hash ^ hash >> 32) & 0xffffffff) * item.parts >> 32) == item.part;
    };
    auto collect = [&](int64_t begin, int64_t end) {
      std::vector<int32_t> slot_of;
      for (int64_t p = begin; p < end; ++p) {
        const WorkItem& item = items[p];
        std::vector<Row>& collected = distinct_rows[p];
        // Rows repeat, so the hash table starts small, which keeps it in the cache, and grows with the distinct rows.
        int bits = 12;
        slot_of.assign(int64_t{1} << bits, -1);
        auto slot_for = [&](Row row, uint64_t hash) {
          int64_t slot = hash >> (64 - bits);
          while (slot_of[slot] >= 0 && collected[slot_of[slot]] != row) slot = (slot + 1) & ((int64_t{1} << bits) - 1);
          return slot;
        };
        for (int64_t f : features_[item.table]) {
          for (int64_t i = bag[first_bag[f]]; i < bag[first_bag[f + 1]]; ++i) {
            const uint64_t hash = hash_of(rows[i]);
            if (!mine(item, hash)) continue;
            const int64_t slot = slot_for(rows[i], hash);
            if (slot_of[slot] >= 0) {
              position[i] = slot_of[slot];
              continue;
            }
            position[i] = slot_of[slot] = static_cast<int32_t>(collected.size());
            collected.push_back(rows[i]);
            if (2 * collected.size() <= uint64_t{1} << bits) continue;
            bits += 2;
            slot_of.assign(int64_t{1} << bits, -1);
            for (size_t k = 0; k < collected.size(); ++k) slot_of[slot_for(collected[k], hash_of(collected[k]))] = k;
          }
        }
      }
    };
    Shard(pool->num_threads, pool->workers, items.size(), 10 * n / items.size(), collect);

    std::vector<int64_t> start(items.size() + 1, 0);
    for (size_t p = 0; p < items.size(); ++p) {
      start[p + 1] = start[p] + distinct_rows[p].size();
      if (items[p].part == 0) firsts->flat<int32_t>().data()[items[p].table] = start[p];
    }
    firsts->flat<int32_t>().data()[tables] = start[items.size()];
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({start[items.size()]}), &distinct));
    Row* to = distinct->flat<Row>().data();
    auto place = [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        std::copy(distinct_rows[p].begin(), distinct_rows[p].end(), to + start[p]);
        for (int64_t f : features_[items[p].table])
          for (int64_t i = bag[first_bag[f]]; i < bag[first_bag[f + 1]]; ++i)
            if (mine(items[p], hash_of(rows[i]))) position[i] += start[p];
      }
    };
    Shard(pool->num_threads, pool->workers, items.size(), 2 * n / items.size(), place);
  }

 private:
  std::vector<std::vector<int64_t>> features_;
};

// Returns sums[r], the gradient of LookUp with respect to the table's row distinct[r]: the upstream gradient of a bag
// times the row's weight in it, summed over all i with position[i] == r.
REGISTER_OP("KerasrecSumRows")
    .Input("distinct: Row")
    .Input("position: int32")
    .Input("first_row: int32")
    .Input("bags: int32")
    .Input("first_bag: int32")
    .Input("weights: N * float")
    .Input("upstream: N * T")
    .Output("sums: float")
    .Attr("N: int >= 1")
    .Attr("T: {float, bfloat16}")
    .Attr("Row: {int32, int64}")
    .Attr("width: int")
    .Attr("combiners: list(int)")
    .Attr("tables: list(int)")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      int64_t width;
      TF_RETURN_IF_ERROR(c->GetAttr("width", &width));
      c->set_output(0, c->Matrix(c->Dim(c->input(0), 0), width));
      return absl::OkStatus();
    });

template <typename T>
class SumRows : public OpKernel {
 public:
  explicit SumRows(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int64_t> tables;
    OP_REQUIRES_OK(context, context->GetAttr("combiners", &combiners_));
    OP_REQUIRES_OK(context, context->GetAttr("tables", &tables));
    OP_REQUIRES_OK(context, context->GetAttr("width", &width_));
    features_ = FeaturesOf(tables);
  }

  void Compute(OpKernelContext* context) override {
    const int64_t rows = context->input(0).NumElements(), width = width_;
    const Tensor& position = context->input(1);
    const int64_t n = position.NumElements();
    const int32_t* place = position.flat<int32_t>().data();
    OP_REQUIRES(context, !FirstOutOfRange(place, n, rows), errors::InvalidArgument("position is out of range"));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Read(context, n, combiners_));
    OpInputList upstream;
    OP_REQUIRES_OK(context, context->input_list("upstream", &upstream));
    std::vector<const T*> from(bags.features);
    for (int64_t f = 0; f < bags.features; ++f) {
      const int64_t first = bags.first_bag[f], mine = bags.first_bag[f + 1] - first;
      OP_REQUIRES(context, upstream[f].shape() == TensorShape({mine, width}),
                  errors::InvalidArgument("upstream must have shape (bags, width)"));
      from[f] = upstream[f].flat<T>().data() - first * width;
    }
    Tensor* sums = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, width}), &sums));
    float* to = sums->flat<float>().data();

    // Each work item owns a range of a table's rows and passes over that table's positions, so no two write to a row.
    const Tensor& firsts = context->input(2);
    const int64_t tables = features_.size();
    const int32_t* first_row = firsts.flat<int32_t>().data();
    OP_REQUIRES(context, firsts.NumElements() == tables + 1 && first_row[0] == 0 && first_row[tables] == rows &&
                IsSorted(first_row, tables + 1),
                errors::InvalidArgument("first_row must rise from 0 to the number of rows"));
    std::vector<int64_t> ids(tables, 0);
    for (int64_t t = 0; t < tables; ++t)
      for (int64_t f : features_[t]) ids[t] += bags.bag[bags.first_bag[f + 1]] - bags.bag[bags.first_bag[f]];
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const std::vector<WorkItem> items = Divide(ids, pool->num_threads);
    auto work = [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const auto [t, part, parts] = items[p];
        const int64_t mine = first_row[t + 1] - first_row[t];
        const int64_t low = first_row[t] + mine * part / parts, high = first_row[t] + mine * (part + 1) / parts;
        std::memset(to + low * width, 0, (high - low) * width * sizeof(float));
        for (int64_t f : features_[t]) {
          const float* weight = bags.weights[f];
          const bool plain = bags.combiners[f] == kSum && !weight;
          for (int64_t b = bags.first_bag[f]; b < bags.first_bag[f + 1]; ++b) {
            const int64_t first = bags.bag[b], last = bags.bag[b + 1];
            const float scale = plain || last - first == 1 ? 1 : bags.Scale(f, b);
            const T* __restrict value = from[f] + b * width;
            for (int64_t i = first; i < last; ++i) {
              if (place[i] < low || place[i] >= high) continue;
              float* __restrict sum = to + place[i] * width;
              const float share = weight ? scale * weight[i] : scale;
              if (share == 1)
                for (int64_t k = 0; k < width; ++k) sum[k] += static_cast<float>(value[k]);
              else
                for (int64_t k = 0; k < width; ++k) sum[k] += share * static_cast<float>(value[k]);
            }
          }
        }
      }
    };
    Shard(pool->num_threads, pool->workers, items.size(), n * width / items.size(), work);
  }

 private:
  std::vector<int64_t> combiners_;
  std::vector<std::vector<int64_t>> features_;
  int64_t width_;
};

// For each distinct row r: accumulator[r] += gradient^2; table[r] -= learning_rate * gradient / sqrt(accumulator[r] + eps)
REGISTER_OP("KerasrecAdagradRows")
    .Input("table: resource")
    .Input("accumulator: resource")
    .Input("rows: Row")
    .Input("gradient: float")
    .Input("learning_rate: float")
    .Input("epsilon: float")
    .Attr("Row: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(shape_inference::NoOutputs);

// Returns the variable's values for writing in place. If a reader still refers to them they are copied first; from now
// on, readers of the whole variable get a copy, as with TensorFlow's own sparse updates. The variable must be locked.
absl::Status Writable(OpKernelContext* context, Var* variable, float** values) {
  Tensor* tensor = variable->tensor();
  if (!variable->copy_on_read_mode.load()) {
    if (!tensor->RefCountIsOne()) {
      Tensor copy;
      TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &copy));
      std::memcpy(copy.data(), tensor->data(), tensor->TotalBytes());
      *tensor = copy;
    }
    variable->copy_on_read_mode.store(true);
  }
  *values = tensor->flat<float>().data();
  return absl::OkStatus();
}

template <typename Row>
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
                errors::InvalidArgument("accumulator and table must have the same shape"));
    OP_REQUIRES(context, gradient.shape() == TensorShape({n, width}),
                errors::InvalidArgument("gradient must have shape (rows, width); got ", gradient.shape().DebugString()));
    float *weights = nullptr, *squares = nullptr;
    OP_REQUIRES_OK(context, Writable(context, table.get(), &weights));
    OP_REQUIRES_OK(context, Writable(context, accumulator.get(), &squares));
    const Row* rows = context->input(2).flat<Row>().data();
    OP_REQUIRES_OK(context, CheckRows(rows, n, size));
    const float* gradients = gradient.flat<float>().data();
    const float rate = context->input(4).scalar<float>()(), epsilon = context->input(5).scalar<float>()();

    auto work = [=](int64_t first, int64_t last) {
      ForWidth(width, [=](auto fixed) {
        constexpr int64_t kWidth = fixed;
        const int64_t columns = kWidth ? kWidth : width;
        for (int64_t i = first; i < last; ++i) {
          if (i + kAhead < last) {
            Prefetch(weights + rows[i + kAhead] * columns, columns, true);
            Prefetch(squares + rows[i + kAhead] * columns, columns, true);
          }
          float* __restrict w = weights + rows[i] * columns;
          float* __restrict a = squares + rows[i] * columns;
          const float* __restrict g = gradients + i * columns;
          for (int64_t k = 0; k < columns; ++k) {
            a[k] += g[k] * g[k];
            w[k] -= rate * g[k] / std::sqrt(a[k] + epsilon);
          }
        }
      });
    };
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    Shard(pool->num_threads, pool->workers, n, 20 * width, work);
  }
};

#define REGISTER(NAME, TYPES, ...) REGISTER_KERNEL_BUILDER(Name("Kerasrec" #NAME).Device(DEVICE_CPU) TYPES, __VA_ARGS__)
#define INDEX(TYPE) .TypeConstraint<TYPE>("Index")
#define ROW(TYPE) .TypeConstraint<TYPE>("Row")
#define VALUE(TYPE) .TypeConstraint<TYPE>("T")

REGISTER(FindRows, INDEX(int32_t) ROW(int32_t), FindRows<int32_t, int32_t>);
REGISTER(FindRows, INDEX(int32_t) ROW(int64_t), FindRows<int32_t, int64_t>);
REGISTER(FindRows, INDEX(int64_t) ROW(int32_t), FindRows<int64_t, int32_t>);
REGISTER(FindRows, INDEX(int64_t) ROW(int64_t), FindRows<int64_t, int64_t>);
REGISTER(LookUp, VALUE(float) ROW(int32_t), LookUp<float, int32_t>);
REGISTER(LookUp, VALUE(float) ROW(int64_t), LookUp<float, int64_t>);
REGISTER(LookUp, VALUE(bfloat16) ROW(int32_t), LookUp<bfloat16, int32_t>);
REGISTER(LookUp, VALUE(bfloat16) ROW(int64_t), LookUp<bfloat16, int64_t>);
REGISTER(LookUpWeightsGradient, VALUE(float) ROW(int32_t), LookUpWeightsGradient<float, int32_t>);
REGISTER(LookUpWeightsGradient, VALUE(float) ROW(int64_t), LookUpWeightsGradient<float, int64_t>);
REGISTER(LookUpWeightsGradient, VALUE(bfloat16) ROW(int32_t), LookUpWeightsGradient<bfloat16, int32_t>);
REGISTER(LookUpWeightsGradient, VALUE(bfloat16) ROW(int64_t), LookUpWeightsGradient<bfloat16, int64_t>);
REGISTER(DistinctRows, ROW(int32_t), DistinctRows<int32_t>);
REGISTER(DistinctRows, ROW(int64_t), DistinctRows<int64_t>);
REGISTER(SumRows, VALUE(float), SumRows<float>);
REGISTER(SumRows, VALUE(bfloat16), SumRows<bfloat16>);
REGISTER(AdagradRows, ROW(int32_t), AdagradRows<int32_t>);
REGISTER(AdagradRows, ROW(int64_t), AdagradRows<int64_t>);

}  // namespace kerasrec
