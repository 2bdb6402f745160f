"""`horovodrun --gloo` that does not import TensorFlow, in one more process, to ask whether Horovod has Gloo."""

from horovod.runner import launch

if __name__ == "__main__":
    launch.gloo_built = lambda verbose=False: True
    launch.run_commandline()
