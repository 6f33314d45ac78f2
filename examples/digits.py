"""The program of the README: a network learns the bundled handwritten digits."""

import fastnn
from fastnn import nn, optim
from fastnn.datasets import digits

fastnn.manual_seed(0)
train, test = digits()  # (1437, 64) and (360, 64) in [0, 1], with their labels
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(200):
    optimizer.zero_grad()
    loss = criterion(model(train.images), train.labels)
    loss.backward()
    optimizer.step()
    if epoch % 20 == 19:
        print(f"epoch {epoch + 1:3}: loss {loss.item():.4f}")
with fastnn.no_grad():
    right = model(test.images).argmax(dim=1) == test.labels
print(f"{right.sum().item()} of {len(test.labels)} held-out digits right")
