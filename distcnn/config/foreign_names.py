"""Option names of PyTorch, timm, Lightning and Keras, and of early versions of distcnn, for "did you mean ...?".

All names are written without their two dashes.
"""

# Each option of distcnn, with its names elsewhere.
OTHER_NAMES = {
    "learning-rate": "lr base-lr max-lr lr-max init-lr learning-rate-init eta lr-init",
    "batch-size": "b bs batch train-batch-size global-batch-size batchsize total-batch-size",
    "weight-decay": "wd l2 l2-regularization weight-decay-rate",
    "momentum": "mom beta1 adam-beta1 sgd-momentum b1",
    "beta2": "adam-beta2 b2",
    "epsilon": "eps opt-eps adam-eps adam-epsilon",
    "trust-coefficient": "trust-coef lars-coefficient",
    "optimizer": "opt optim solver algorithm",
    "schedule": "sched scheduler lr-scheduler lr-schedule lr-scheduler-type lr-policy",
    "warmup-epochs": "warmup lr-warmup lr-warmup-epochs num-warmup-epochs",
    "initial-lr-fraction": "start-fraction",
    "final-lr-fraction": "end-fraction lrf",
    "milestones": "drop-at lr-milestones decay-milestones lr-steps",
    "step-size": "drop-every lr-step-size decay-epochs lr-step lr-drop",
    "gamma": "drop-factor lr-gamma decay-rate dr lr-factor",
    "power": "lr-power poly-power",
    "clip-norm": "clip-grad clip-grad-norm grad-clip gradient-clip-val max-grad-norm clipnorm global-clipnorm clip",
    "label-smoothing": "smoothing label-smooth",
    "class-weight": "class-weights weight-classes loss-weight loss-weights pos-weight weight scale-pos-weight balanced",
    "init-from": "pretrained finetune fine-tune finetune-from weights pretrained-weights pretrained-model init-weights "
    "load-weights load-from initial-checkpoint init-checkpoint init-from-checkpoint transfer-from warm-start",
    "freeze": "freeze-layers frozen frozen-layers freeze-backbone freeze-until freeze-at freeze-encoder trainable "
    "linear-probe",
    "patience": "early-stopping early-stop early-stopping-patience early-stopping-rounds patience-epochs earlystopping "
    "stop-early es-patience n-iter-no-change",
    "ema-decay": "average ema model-ema model-ema-decay ema-momentum use-ema",
    "model": "arch a net network architecture model-name",
    "epochs": "max-epochs num-epochs n-epochs nb-epochs num-train-epochs train-epochs",
    "max-steps": "steps max-iter max-iters iterations num-steps num-train-steps train-steps",
    "max-time": "time-limit walltime max-duration",
    "out": "output output-dir out-dir outdir save-dir save-path log-dir logdir workdir work-dir run-dir "
    "default-root-dir checkpoint-dir ckpt-dir experiment",
    "data": "train-dir data-dir dataset data-path dataset-path train-data root input train-file",
    "validation-split": "validation val-split valid-split validation-fraction val-fraction valid-size val-size",
    "seed": "random-seed random-state manual-seed",
    "augment": "augmentation augmentations data-augmentation aug aa auto-augment transforms",
    "normalize": "normalization standardize",
    "norm-group": "bn-group norm-groups",
    "reduction": "allreduce reduce-op",
    "resume": "ckpt ckpt-path load load-checkpoint resume-from resume-from-checkpoint restore",
    "checkpoint-every": "save-every save-freq save-steps save-interval checkpoint-interval every-n-train-steps",
    "keep-checkpoints": "keep checkpoint-hist save-top-k save-total-limit max-to-keep",
    "replica-check-every": "compare-every",
    "hang-timeout": "watchdog-timeout",
    "threads": "num-threads nthreads n-threads cores cpus num-cores intra-op-threads",
    "task": "problem-type objective task-type problem",
    "progress": "verbose quiet progress-bar enable-progress-bar show-progress",
    "list-models": "list models",
    "split": "part subset",
    "config": "config-file cfg conf yaml",
    "n": "np ranks num-ranks nprocs nproc num-processes processes",
    "max-restarts": "restarts retries",
}
SAME = {other: ours for ours, others in OTHER_NAMES.items() for other in others.split()}

_DEVICE = "there is none, because distcnn computes on CPUs; mpirun -n N starts N ranks"
_RANKS = "there is none, because mpirun -n N starts N ranks"
_FLOAT = "there is none, because weights are float32 and gradients are added exactly"
_LOSS = "there is none, because the loss is that of the task: --task classify, multilabel or regress"
_DATA = "there is none, because the data determine it"
_HDF5 = "--test-images and --validation-images name arrays, --data all files of the dataset"
_INIT = "there is none, because every layer initializes its own weights, from --seed"
_LOG = "there is none, because every run writes metrics.jsonl and curves.png into its folder"
_READERS = "there is none, because every rank reads its own samples by itself; --threads is for computing"
_MPI = "there is none, because ranks find each other through MPI"

# Advice on names for which distcnn has another option or none; commands give it only if they have the options in it.
ADVICE = {
    "timeout": "--hang-timeout ends a rank that hangs, --max-time ends the run",
    "min-lr": "--final-lr-fraction is the last learning rate, as a fraction of --learning-rate",
    "betas": "Adam's are --momentum and --beta2",
    "nesterov": "--optimizer nesterov is Nesterov's momentum",
    "adam": "--optimizer adamw is Adam with decoupled weight decay",
    "workers": _READERS,
    "device": _DEVICE,
    "ranks": _RANKS,
    "precision": _FLOAT,
    "loss": _LOSS,
    "metrics": "there is none, because loss and accuracy are always measured",
    "weight-init": _INIT,
    "num-classes": _DATA,
    "test-data": _HDF5,
    "shuffle": "there is none, because the order is a function of --seed and the epoch",
    "deterministic": "there is none, because training is always deterministic, on any number of ranks",
    "compile": "there is none, because kernels are always compiled",
    "backend": _MPI,
    "gradient-accumulation": "there is none, because a batch is computed in blocks of 16 samples, whatever its size",
    "log-interval": _LOG,
    "activation": "there is none, because activations are layers of the model",
    "dropout": "there is none, because dropout is a layer of the model",
    "sync-bn": "--norm-group global takes the statistics of batch norms over the whole batch",
    "mixup": "there is none; --augment distorts images",
    "evaluate": "python -m distcnn.evaluate evaluates a checkpoint",
    "predict": "python -m distcnn.predict predicts with a checkpoint",
    "fast-dev-run": "--max-steps 1 does one step",
}
SYNONYMS = {
    "min-lr": "eta-min lr-min lr-end end-lr final-lr",
    "betas": "opt-betas adam-betas",
    "adam": "adamw use-adam",
    "workers": "num-workers n-workers j nworkers dataloader-workers pin-memory prefetch prefetch-factor",
    "device": "devices gpu gpus gpu-id gpu-ids accelerator cuda no-cuda use-cuda device-ids n-gpus num-gpus mps tpu",
    "ranks": "nodes num-nodes nnodes nproc nproc-per-node world-size local-rank rank np num-processes n",
    "precision": "amp apex-amp native-amp mixed-precision fp16 bf16 half dtype float16 bfloat16 use-amp",
    "loss": "criterion loss-fn loss-function",
    "metrics": "metric eval-metric",
    "weight-init": "init initializer kernel-initializer weights-init init-method initialization",
    "num-classes": "classes n-classes input-size img-size image-size in-chans in-channels input-shape resolution",
    "test-data": "val-data val-dir test-dir valid-dir validation-data test-file val-file eval-data",
    "shuffle": "no-shuffle",
    "deterministic": "use-deterministic-algorithms reproducible cudnn-benchmark benchmark",
    "compile": "torchcompile torchscript jit jit-compile",
    "backend": "dist-backend dist-url init-method-url master-addr master-port strategy distributed ddp horovod",
    "gradient-accumulation": "accumulate-grad-batches gradient-accumulation-steps grad-accum-steps accum-iter "
    "iter-size accumulation-steps",
    "log-interval": "log-every log-freq logging-steps print-freq log-every-n-steps logger log-wandb wandb tensorboard "
    "tb callbacks",
    "dropout": "drop dropout-rate drop-rate",
    "sync-bn": "sync-batchnorm syncbn synchronize-bn",
    "mixup": "cutmix reprob random-erasing mixup-alpha",
    "evaluate": "eval eval-only test-only validate",
    "predict": "inference infer",
    "fast-dev-run": "dry-run smoke-test",
}
ADVICE |= {other: ADVICE[name] for name, others in SYNONYMS.items() for other in others.split()}

_RESNET = (
    "there is none, because the residual networks here are those for images of 32 x 32 pixels: resnet20, "
)
_RESNET += "resnet32 and resnet56"

# Models of other libraries, as regular expressions.
OTHER_MODELS = {
    "(wide_?|pre_?act_?|se-?)?resne[xs]?t(-?[0-9v].*)?": _RESNET,
    "vgg-?(11|13|19)?(_?bn)?": "there is none; wanted vgg16, for large images, or vgg-small, for small ones",
    "lenet|lenet-?[1-4]|lenet300.*": "wanted lenet5, lenet5-1998, or mlp, the fully connected one",
}
OWN_MODEL = "a network of your own is FILE.py:FUNCTION, MODULE:FUNCTION or FILE.txt"

# Values that other libraries use, by setting.
OTHER_VALUES = {
    "optimizer": {
        "momentum": "sgd",
        "adam": "adamw",
        "sgdm": "sgd",
        "sgd-momentum": "sgd",
        "nag": "nesterov",
    },
    "schedule": {
        "multistep": "step",
        "cosineannealing": "cosine",
        "cosine-annealing": "cosine",
        "piecewise": "step",
        "linear": "polynomial",
        "poly": "polynomial",
        "onecycle": "one-cycle",
        "none": "constant",
        "fixed": "constant",
    },
    "reduction": {"float": "float32", "fp32": "float32", "fixed": "exact"},
    "norm_group": {"batch": "global", "all": "global"},
    "normalize": {"no": "none", "mean": "channel"},
}
