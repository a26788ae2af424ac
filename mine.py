from distcnn.layers import *
def net(s, n): return [Flatten(), Dense(n)]
