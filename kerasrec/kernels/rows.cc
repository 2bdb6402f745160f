// What TensorFlow's CPU kernels for rows of a table do one element at a time, or on one core.

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

// The first of `n` values that is not in [0, size); null if all are. Branches only to name it: the check is vectorised.
template <typename Value>
const Value* Stray(const Value* values, int64_t n, int64_t size) {
  bool stray = false;
  for (int64_t i = 0; i < n; ++i) stray |= static_cast<uint64_t>(static_cast<int64_t>(values[i])) >= static_cast<uint64_t>(size);
  if (!stray) return nullptr;
  return std::find_if(values, values + n, [size](Value v) { return v < 0 || v >= size; });
}

template <typename Value>
bool Rising(const Value* values, int64_t n) {
  bool falls = false;
  for (int64_t i = 0; i + 1 < n; ++i) falls |= values[i + 1] < values[i];
  return !falls;
}

template <typename Row>
absl::Status InTable(const Row* rows, int64_t n, int64_t size) {
  const Row* stray = Stray(rows, n, size);
  return stray ? errors::InvalidArgument("row ", *stray, " of ", size) : absl::OkStatus();
}

// Where the ids of N features lie in a stack of tables: all rows one after another, cut into bags whose vectors are
// combined. Bag b is rows [bags[b], bags[b + 1]); feature f's bags are [first_bag[f], first_bag[f + 1]).
// A feature's ids come in bags of `hotness` (where `padded`, without the zeros among them), or, with hotness 0, as its
// `splits` say.
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
    std::vector<const Index*> stray(features, nullptr);
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    int64_t all = 0;
    for (int64_t f = 0; f < features; ++f) all += ids[f].NumElements();
    auto in_parallel = [&](auto work) { Shard(pool->num_threads, pool->workers, features, 2 * all / features, work); };

    in_parallel([&](int64_t first, int64_t last) {
      for (int64_t f = first; f < last; ++f) {
        const int64_t n = ids[f].NumElements();
        const Index* id = ids[f].flat<Index>().data();
        stray[f] = Stray(id, n, sizes_[f]);
        bags[f + 1] = hotness_[f] ? n / hotness_[f] : splits[f].NumElements() - 1;
        rows[f + 1] = padded_[f] ? n - std::count(id, id + n, Index{0}) : n;
      }
    });
    for (int64_t f = 0; f < features; ++f) {
      const int64_t n = ids[f].NumElements();
      OP_REQUIRES(context, !stray[f], errors::InvalidArgument("feature '", features_[f], "': id ", *stray[f],
                  " is out of range [0, ", sizes_[f], ") of table '", tables_[f], "'"));
      OP_REQUIRES(context, hotness_[f] ? n % hotness_[f] == 0 : Cuts(splits[f], n),
                  errors::InvalidArgument("feature '", features_[f], "': ", n, " ids cannot be cut into lists"));
      bags[f + 1] += bags[f];
      rows[f + 1] += rows[f];
    }
    OP_REQUIRES(context, rows[features] < int64_t{1} << 31 && bags[features] < int64_t{1} << 31,
                errors::InvalidArgument(rows[features], " ids in one batch are more than 2^31"));

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
    return cuts && cut[0] == 0 && cut[cuts - 1] == n && Rising(cut, cuts);
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

// What FindRows put out, and how the vectors of a bag are combined.
enum Combiner { kSum = 0, kMean = 1, kSqrtN = 2 };

struct Bags {
  const int32_t* bag;        // (bags + 1,)
  const int32_t* first_bag;  // (features + 1,)
  int64_t rows, bags, features;
  std::vector<int64_t> combiners;
  std::vector<const float*> weights;  // of a feature's rows, or null where they all count once

  absl::Status Of(OpKernelContext* context, int64_t all_rows, const std::vector<int64_t>& how) {
    const Tensor *cuts, *firsts;
    OpInputList given;
    TF_RETURN_IF_ERROR(context->input("bags", &cuts));
    TF_RETURN_IF_ERROR(context->input("first_bag", &firsts));
    TF_RETURN_IF_ERROR(context->input_list("weights", &given));
    rows = all_rows, bags = cuts->NumElements() - 1, features = firsts->NumElements() - 1, combiners = how;
    bag = cuts->flat<int32_t>().data(), first_bag = firsts->flat<int32_t>().data();
    if (bags < 0 || features != static_cast<int64_t>(how.size()) || first_bag[0] || first_bag[features] != bags ||
        !Rising(first_bag, features + 1) || bag[0] || bag[bags] != rows || !Rising(bag, bags + 1))
      return errors::InvalidArgument("these are not the bags of ", rows, " rows");
    for (int64_t f = 0; f < features; ++f) {
      const int64_t n = given[f].NumElements(), mine = bag[first_bag[f + 1]] - bag[first_bag[f]];
      if (n && n != mine) return errors::InvalidArgument(n, " weights for ", mine, " ids");
      weights.push_back(n ? given[f].flat<float>().data() - bag[first_bag[f]] : nullptr);
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

// vectors[f][b] = the combined rows of bag b of feature f.
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
    .Attr("tables: list(int)")  // which features look up one table; for the gradient
    .SetIsStateful()
    .SetShapeFn(BagsShape);

// The time goes into waiting for rows from memory: ask for them this many rows ahead.
constexpr int64_t kAhead = 32, kLine = 64 / sizeof(float);

inline void Prefetch(const float* row, int64_t width, bool write) {
  for (int64_t k = 0; k < width; k += kLine)
    if (write) __builtin_prefetch(row + k, 1); else __builtin_prefetch(row + k);
}

// Calls work(Width<w>) for the usual widths, so that a sum of rows stays in registers, and else work(Width<0>).
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
    OP_REQUIRES_OK(context, InTable(rows, n, size));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Of(context, n, combiners_));
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

// The gradient of LookUp by its weights: <upstream of the bag, row>; only for features that have weights.
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
    OP_REQUIRES_OK(context, InTable(rows, n, size));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Of(context, n, combiners_));
    OpInputList upstream;
    OP_REQUIRES_OK(context, context->input_list("upstream", &upstream));
    for (int64_t f = 0; f < bags.features; ++f) {
      const int64_t first = bags.first_bag[f], mine = bags.first_bag[f + 1] - first;
      Tensor* gradient = nullptr;
      const int64_t ids = bags.weights[f] ? bags.bag[first + mine] - bags.bag[first] : 0;
      OP_REQUIRES_OK(context, context->allocate_output(f, TensorShape({ids}), &gradient));
      if (!ids) continue;
      OP_REQUIRES(context, upstream[f].shape() == TensorShape({mine, width}),
                  errors::InvalidArgument("upstream must be (bags, width)"));
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

// The distinct values among `rows`, and where among them each of `rows` is. `tables` says which features look up one
// table: no row is in two, so each table's rows are looked through by themselves, and stand together: those of table t
// are [first_row[t], first_row[t + 1]) of `distinct`.
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

// The features of each table; tables are counted from 0 in the order of their first feature.
std::vector<std::vector<int64_t>> FeaturesOf(const std::vector<int64_t>& tables) {
  std::vector<std::vector<int64_t>> features;
  for (size_t f = 0; f < tables.size(); ++f) {
    if (tables[f] == static_cast<int64_t>(features.size())) features.emplace_back();
    if (tables[f] >= 0 && tables[f] < static_cast<int64_t>(features.size())) features[tables[f]].push_back(f);
  }
  return features;
}

// A piece of work: a table, and which of `parts` shares of it.
struct Piece {
  int64_t table, part, parts;
};

// Cuts a table only where it would keep one thread busy for longer than the others: each part of a table passes over
// all of its ids.
std::vector<Piece> Cut(const std::vector<int64_t>& ids, int64_t threads) {
  const int64_t all = std::accumulate(ids.begin(), ids.end(), int64_t{1});
  std::vector<Piece> pieces;
  for (int64_t t = 0; t < static_cast<int64_t>(ids.size()); ++t) {
    const int64_t parts = std::clamp<int64_t>(std::min(ids[t] / 16384, 4 * threads * ids[t] / all), 1, threads);
    for (int64_t part = 0; part < parts; ++part) pieces.push_back({t, part, parts});
  }
  return pieces;
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
        OP_REQUIRES(context, bag[first_bag[f]] <= last && last <= n, errors::InvalidArgument("not the bags of the rows"));
        size[t] += last - bag[first_bag[f]];
      }
      all += size[t];
    }
    OP_REQUIRES(context, all == n, errors::InvalidArgument("not the bags of the rows"));
    Tensor *positions = nullptr, *firsts = nullptr, *distinct = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({n}), &positions));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({tables + 1}), &firsts));
    int32_t* position = positions->flat<int32_t>().data();

    // Each piece collects the rows whose hash falls to it, in a hash table of its own that is at most half full.
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const std::vector<Piece> pieces = Cut(size, pool->num_threads);
    std::vector<std::vector<Row>> found(pieces.size());
    auto hash_of = [](Row row) { return static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15ull; };
    auto mine = [](const Piece& piece, uint64_t hash) {
      return piece.parts == 1 || static_cast<int64_t>(((hash ^ hash >> 32) & 0xffffffff) * piece.parts >> 32) == piece.part;
    };
    auto collect = [&](int64_t begin, int64_t end) {
      std::vector<int32_t> slot_of;
      for (int64_t p = begin; p < end; ++p) {
        const Piece& piece = pieces[p];
        std::vector<Row>& rows_here = found[p];
        // As large as the rows found so far need: rows repeat, and what is small stays in the cache.
        int bits = 12;
        slot_of.assign(int64_t{1} << bits, -1);
        auto slot_for = [&](Row row, uint64_t hash) {
          int64_t slot = hash >> (64 - bits);
          while (slot_of[slot] >= 0 && rows_here[slot_of[slot]] != row) slot = (slot + 1) & ((int64_t{1} << bits) - 1);
          return slot;
        };
        for (int64_t f : features_[piece.table]) {
          for (int64_t i = bag[first_bag[f]]; i < bag[first_bag[f + 1]]; ++i) {
            const uint64_t hash = hash_of(rows[i]);
            if (!mine(piece, hash)) continue;
            const int64_t slot = slot_for(rows[i], hash);
            if (slot_of[slot] >= 0) {
              position[i] = slot_of[slot];
              continue;
            }
            position[i] = slot_of[slot] = static_cast<int32_t>(rows_here.size());
            rows_here.push_back(rows[i]);
            if (2 * rows_here.size() <= uint64_t{1} << bits) continue;
            bits += 2;
            slot_of.assign(int64_t{1} << bits, -1);
            for (size_t k = 0; k < rows_here.size(); ++k) slot_of[slot_for(rows_here[k], hash_of(rows_here[k]))] = k;
          }
        }
      }
    };
    Shard(pool->num_threads, pool->workers, pieces.size(), 10 * n / pieces.size(), collect);

    std::vector<int64_t> start(pieces.size() + 1, 0);
    for (size_t p = 0; p < pieces.size(); ++p) {
      start[p + 1] = start[p] + found[p].size();
      if (pieces[p].part == 0) firsts->flat<int32_t>().data()[pieces[p].table] = start[p];
    }
    firsts->flat<int32_t>().data()[tables] = start[pieces.size()];
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({start[pieces.size()]}), &distinct));
    Row* to = distinct->flat<Row>().data();
    auto place = [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        std::copy(found[p].begin(), found[p].end(), to + start[p]);
        for (int64_t f : features_[pieces[p].table])
          for (int64_t i = bag[first_bag[f]]; i < bag[first_bag[f + 1]]; ++i)
            if (mine(pieces[p], hash_of(rows[i]))) position[i] += start[p];
      }
    };
    Shard(pool->num_threads, pool->workers, pieces.size(), 2 * n / pieces.size(), place);
  }

 private:
  std::vector<std::vector<int64_t>> features_;
};

// sums[r] = the gradient of LookUp by the table's row distinct[r]: that of each bag, times its share in the bag,
// summed over all rows i with position[i] == r.
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
    OP_REQUIRES(context, !Stray(place, n, rows), errors::InvalidArgument("a position out of range"));
    Bags bags;
    OP_REQUIRES_OK(context, bags.Of(context, n, combiners_));
    OpInputList upstream;
    OP_REQUIRES_OK(context, context->input_list("upstream", &upstream));
    std::vector<const T*> from(bags.features);
    for (int64_t f = 0; f < bags.features; ++f) {
      const int64_t first = bags.first_bag[f], mine = bags.first_bag[f + 1] - first;
      OP_REQUIRES(context, upstream[f].shape() == TensorShape({mine, width}),
                  errors::InvalidArgument("upstream must be (bags, width)"));
      from[f] = upstream[f].flat<T>().data() - first * width;
    }
    Tensor* sums = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({rows, width}), &sums));
    float* to = sums->flat<float>().data();

    // Each piece owns a range of a table's rows and passes over that table's positions, so no two write to one row.
    const Tensor& firsts = context->input(2);
    const int64_t tables = features_.size();
    const int32_t* first_row = firsts.flat<int32_t>().data();
    OP_REQUIRES(context, firsts.NumElements() == tables + 1 && first_row[0] == 0 && first_row[tables] == rows &&
                Rising(first_row, tables + 1), errors::InvalidArgument("these are no rows of tables"));
    std::vector<int64_t> ids(tables, 0);
    for (int64_t t = 0; t < tables; ++t)
      for (int64_t f : features_[t]) ids[t] += bags.bag[bags.first_bag[f + 1]] - bags.bag[bags.first_bag[f]];
    auto* pool = context->device()->tensorflow_cpu_worker_threads();
    const std::vector<Piece> pieces = Cut(ids, pool->num_threads);
    auto work = [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const auto [t, part, parts] = pieces[p];
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
    Shard(pool->num_threads, pool->workers, pieces.size(), n * width / pieces.size(), work);
  }

 private:
  std::vector<int64_t> combiners_;
  std::vector<std::vector<int64_t>> features_;
  int64_t width_;
};

// For distinct rows r: accumulator[r] += gradient^2, table[r] -= learning_rate * gradient / sqrt(accumulator[r] + eps).
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
                errors::InvalidArgument("the accumulator is not of the table's shape"));
    OP_REQUIRES(context, gradient.shape() == TensorShape({n, width}),
                errors::InvalidArgument("gradient must be (rows, width), not ", gradient.shape().DebugString()));
    float *weights = nullptr, *squares = nullptr;
    OP_REQUIRES_OK(context, Writable(context, table.get(), &weights));
    OP_REQUIRES_OK(context, Writable(context, accumulator.get(), &squares));
    const Row* rows = context->input(2).flat<Row>().data();
    OP_REQUIRES_OK(context, InTable(rows, n, size));
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
